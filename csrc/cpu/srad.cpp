// SRAD on the CPU: one pass over the image per iteration, rows of coefficients kept just ahead of
// the rows they update, and the region's sums for the next iteration taken on the way.
#include "busaug/srad.hpp"

#include "busaug/api.hpp"
#include "busaug/status.hpp"
#include "simd.hpp"
#include "team.hpp"

#include <algorithm>
#include <atomic>
#include <memory>

namespace busaug {
namespace {

// Below this many rows a thread costs more than it saves.
constexpr Index minimum_rows_per_thread = 16;

struct Region {
    Index row, column, height, width;
};

// Sums over a row of the region, relative to `origin`; see region_q0_squared.
struct RowSums {
    double sum, squares;
};

// Lanes fix the order of the additions, so that every vector width gives the same bits.
template <class Real>
BUSAUG_INLINE RowSums sum_row(const Real* BUSAUG_RESTRICT row, Index width, double origin) {
    constexpr int lanes = 8;
    double sum[lanes] = {};
    double squares[lanes] = {};
    Index x = 0;
    for (; x + lanes <= width; x += lanes) {
        for (int lane = 0; lane < lanes; ++lane) {
            const double value = static_cast<double>(row[x + lane]) - origin;
            sum[lane] += value;
            squares[lane] += value * value;
        }
    }
    for (int lane = 0; x < width; ++x, ++lane) {
        const double value = static_cast<double>(row[x]) - origin;
        sum[lane] += value;
        squares[lane] += value * value;
    }
    RowSums total{0.0, 0.0};
    for (int lane = 0; lane < lanes; ++lane) {
        total.sum += sum[lane];
        total.squares += squares[lane];
    }
    return total;
}

// A row and its neighbours; at the border `north` or `south` is the row itself.
template <class Real> struct Rows {
    const Real* BUSAUG_RESTRICT north;
    const Real* BUSAUG_RESTRICT centre;
    const Real* BUSAUG_RESTRICT south;

    BUSAUG_INLINE Rows(const Real* image, Index y, Index height, Index width)
        : north(image + before(y) * width), centre(image + y * width),
          south(image + after(y, height) * width) {}

    BUSAUG_INLINE Stencil<Real> inside(Index x) const {
        return {centre[x], north[x], south[x], centre[x - 1], centre[x + 1]};
    }
    BUSAUG_INLINE Stencil<Real> border(Index x, Index width) const {
        return {centre[x], north[x], south[x], centre[before(x)], centre[after(x, width)]};
    }
};

template <SradForm form, class Real>
BUSAUG_INLINE void coefficient_row(const Rows<Real>& rows, Index width,
                                   const SpeckleTerms<Real>& speckle, Real* BUSAUG_RESTRICT c) {
    c[0] = diffusion_coefficient<form>(rows.border(0, width), speckle);
    for (Index x = 1; x < width - 1; ++x) {
        c[x] = diffusion_coefficient<form>(rows.inside(x), speckle);
    }
    c[width - 1] = diffusion_coefficient<form>(rows.border(width - 1, width), speckle);
}

template <class Real>
BUSAUG_INLINE void diffuse_row(const Rows<Real>& rows, Index width, const Real* BUSAUG_RESTRICT c,
                               const Real* BUSAUG_RESTRICT c_south, Real step,
                               Real* BUSAUG_RESTRICT target) {
    for (Index x = 1; x < width - 1; ++x) {
        target[x] = diffused(rows.inside(x), c[x], c_south[x], c[x + 1], step);
    }
    for (const Index x : {Index(0), width - 1}) {
        target[x] = diffused(rows.border(x, width), c[x], c_south[x], c[after(x, width)], step);
    }
}

// One iteration over some rows of one image.
template <class Real> struct Pass {
    const Real* source;
    Real* target;
    Index height, width;
    Range rows;
    SpeckleTerms<Real> speckle;
    Real step;
    Real* coefficients; // two rows
};

template <SradForm form, class Real> BUSAUG_INLINE void diffuse_rows(const Pass<Real>& pass) {
    const Index height = pass.height;
    const Index width = pass.width;
    if (pass.rows.begin == pass.rows.end) {
        return;
    }
    Real* c = pass.coefficients;
    Real* c_south = pass.coefficients + width;
    Rows<Real> rows(pass.source, pass.rows.begin, height, width);
    coefficient_row<form>(rows, width, pass.speckle, c);
    for (Index y = pass.rows.begin; y < pass.rows.end; ++y) {
        const Rows<Real> next(pass.source, after(y, height), height, width);
        coefficient_row<form>(next, width, pass.speckle, c_south);
        diffuse_row(rows, width, c, c_south, pass.step, pass.target + y * width);
        rows = next;
        std::swap(c, c_south);
    }
}

// The loops above, compiled for one instruction set.
template <class Real> struct Kernels {
    void (*diffuse_rational)(const Pass<Real>&);
    void (*diffuse_exponential)(const Pass<Real>&);
    RowSums (*sum_row)(const Real*, Index, double);

    void diffuse(SradForm form, const Pass<Real>& pass) const {
        (form == SradForm::rational ? diffuse_rational : diffuse_exponential)(pass);
    }
};

#define BUSAUG_KERNELS(name, attribute)                                                            \
    template <class Real> struct name {                                                            \
        template <SradForm form> attribute static void diffuse(const Pass<Real>& pass) {           \
            diffuse_rows<form>(pass);                                                              \
        }                                                                                          \
        attribute static RowSums sum(const Real* row, Index width, double origin) {                \
            return sum_row(row, width, origin);                                                    \
        }                                                                                          \
        static constexpr Kernels<Real> table{diffuse<SradForm::rational>,                          \
                                             diffuse<SradForm::exponential>, sum};                 \
    };

BUSAUG_SIMD_LEVELS(BUSAUG_KERNELS)
#undef BUSAUG_KERNELS

#define BUSAUG_ROW(name, attribute) name<Real>::table,
template <class Real> constexpr Kernels<Real> tables[] = {BUSAUG_SIMD_LEVELS(BUSAUG_ROW)};
#undef BUSAUG_ROW

// Buffers of one team working on one image.
template <class Real> struct Workspace {
    Workspace(const SradParams& params, int members)
        : width(params.width), image(new Real[static_cast<std::size_t>(
                                   params.iterations > 1 ? params.height * params.width : 0)]),
          coefficients(new Real[static_cast<std::size_t>(2 * params.width * members)]),
          sums{std::vector<RowSums>(static_cast<std::size_t>(params.height)),
               std::vector<RowSums>(static_cast<std::size_t>(params.height))} {}

    Index width;
    std::unique_ptr<Real[]> image;        // the iterate that is not kept
    std::unique_ptr<Real[]> coefficients; // two rows a member
    std::vector<RowSums> sums[2];         // of the region's rows: read in one, written in other
};

// One image through all scales; every member of the team calls it.
template <class Real> class Diffusion {
  public:
    Diffusion(const SradParams& params, const Kernels<Real>& kernels, const Real* images,
              const Index* regions, Real* output)
        : params_(params), kernels_(kernels), images_(images), regions_(regions), output_(output) {}

    void run(Index image, Workspace<Real>& workspace, Team& team) const {
        const Index pixels = params_.height * params_.width;
        const Range rows = team.share(params_.height);
        const Real* source = images_ + image * pixels;
        const Region region = region_of(image);
        const double origin =
            static_cast<double>(source[region.row * params_.width + region.column]);
        Real* coefficients = workspace.coefficients.get() + 2 * params_.width * team.rank();

        sum_region(source, rows, region, origin, workspace.sums[0]);
        team.wait();
        Index time = 0;
        for (Index scale = 0; scale < params_.scales; ++scale) {
            Real* kept = output_ + (scale * params_.images + image) * pixels;
            for (Index left = params_.iterations; left-- > 0; ++time) {
                Real* target = left % 2 == 0 ? kept : workspace.image.get();
                const double q0_squared =
                    measured_or_given(region, origin, workspace.sums[time % 2], time);
                kernels_.diffuse(params_.form,
                                 {source, target, params_.height, params_.width, rows,
                                  speckle_terms<Real>(q0_squared),
                                  static_cast<Real>(params_.time_step / 4.0), coefficients});
                sum_region(target, rows, region, origin, workspace.sums[(time + 1) % 2]);
                team.wait();
                source = target;
            }
        }
    }

  private:
    Region region_of(Index image) const {
        if (regions_ == nullptr) {
            return {0, 0, 0, 0};
        }
        const Index* r = regions_ + 4 * image;
        return {r[0], r[1], r[2], r[3]};
    }

    void sum_region(const Real* image, Range rows, const Region& region, double origin,
                    std::vector<RowSums>& sums) const {
        const Index end = std::min(rows.end, region.row + region.height);
        for (Index y = std::max(rows.begin, region.row); y < end; ++y) {
            sums[static_cast<std::size_t>(y)] =
                kernels_.sum_row(image + y * params_.width + region.column, region.width, origin);
        }
    }

    double measured_or_given(const Region& region, double origin, const std::vector<RowSums>& sums,
                             Index time) const {
        if (regions_ == nullptr) {
            return decayed_q0_squared(params_.q0, params_.decay, params_.time_step, time);
        }
        RowSums total{0.0, 0.0};
        for (Index y = region.row; y < region.row + region.height; ++y) {
            total.sum += sums[static_cast<std::size_t>(y)].sum;
            total.squares += sums[static_cast<std::size_t>(y)].squares;
        }
        return region_q0_squared(origin, total.sum, total.squares, region.height * region.width);
    }

    const SradParams& params_;
    const Kernels<Real>& kernels_;
    const Real* images_;
    const Index* regions_;
    Real* output_;
};

} // namespace

void check_srad(const SradParams& params) {
    require(params.images >= 0 && params.height > 0 && params.width > 0,
            "srad: extents must be positive");
    require(params.scales > 0 && params.iterations > 0,
            "srad: scales and iterations must be positive");
    require(params.time_step > 0.0 && params.time_step <= 1.0, "srad: time_step outside (0, 1]");
    require(params.q0 >= 0.0 && params.decay >= 0.0, "srad: q0 and decay must not be negative");
    require(params.form == SradForm::rational || params.form == SradForm::exponential,
            "srad: form is neither 1 nor 2");
}

template <class Real>
void srad_cpu(const SradParams& params, const Real* images, const Index* regions, Real* output,
              int threads, const std::string& simd) {
    check_srad(params);
    require(threads > 0, "srad: threads must be positive");
    const Kernels<Real>& kernels = tables<Real>[simd_level(simd)];
    if (params.images == 0) {
        return;
    }
    for (Index i = 0; regions != nullptr && i < params.images; ++i) {
        const Index* r = regions + 4 * i;
        require(r[0] >= 0 && r[1] >= 0 && r[2] > 0 && r[3] > 0 && r[0] + r[2] <= params.height &&
                    r[1] + r[3] <= params.width,
                "srad: a region lies outside the image");
    }
    const Diffusion<Real> diffusion(params, kernels, images, regions, output);

    if (params.images >= threads) { // an image a thread
        std::vector<Workspace<Real>> workspaces;
        for (int rank = 0; rank < threads; ++rank) {
            workspaces.emplace_back(params, 1);
        }
        std::atomic<Index> next{0};
        run_team(threads, [&](const Team& member) {
            Team::Barrier nobody;
            Team alone(0, 1, nobody);
            Workspace<Real>& workspace = workspaces[static_cast<std::size_t>(member.rank())];
            for (Index image = next++; image < params.images; image = next++) {
                diffusion.run(image, workspace, alone);
            }
        });
        return;
    }
    const Index useful = std::max<Index>(1, params.height / minimum_rows_per_thread);
    const int members = static_cast<int>(std::min<Index>(threads, useful));
    Workspace<Real> workspace(params, members);
    run_team(members, [&](Team& team) { // rows of one image after the other
        for (Index image = 0; image < params.images; ++image) {
            diffusion.run(image, workspace, team);
        }
    });
}

template void srad_cpu(const SradParams&, const float*, const Index*, float*, int,
                       const std::string&);
template void srad_cpu(const SradParams&, const double*, const Index*, double*, int,
                       const std::string&);

} // namespace busaug
