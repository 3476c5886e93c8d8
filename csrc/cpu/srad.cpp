// SRAD on the CPU: one pass over the image per iteration, rows of coefficients kept just ahead of
// the rows they update, and the region's sums for the next iteration taken on the way.
#include "busaug/srad.hpp"

#include "batch.hpp"
#include "busaug/api.hpp"
#include "busaug/status.hpp"
#include "simd.hpp"

#include <algorithm>
#include <memory>

namespace busaug {
namespace {

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

template <class Real>
BUSAUG_INLINE void to_intensities(const Compression<Real>& compression, Index count,
                                  const Real* BUSAUG_RESTRICT pixels,
                                  Real* BUSAUG_RESTRICT intensities) {
    for (Index i = 0; i < count; ++i) {
        intensities[i] = compression.intensity(pixels[i]);
    }
}

template <class Real>
BUSAUG_INLINE void to_pixels(const Compression<Real>& compression, Index count, Real* values) {
    for (Index i = 0; i < count; ++i) {
        values[i] = compression.pixel(values[i]);
    }
}

// The loops above, compiled for one instruction set.
template <class Real> struct Kernels {
    void (*diffuse_rational)(const Pass<Real>&);
    void (*diffuse_exponential)(const Pass<Real>&);
    RowSums (*sum_row)(const Real*, Index, double);
    void (*to_intensities)(const Compression<Real>&, Index, const Real*, Real*);
    void (*to_pixels)(const Compression<Real>&, Index, Real*);

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
        attribute static void expand(const Compression<Real>& compression, Index count,            \
                                     const Real* pixels, Real* intensities) {                      \
            to_intensities(compression, count, pixels, intensities);                               \
        }                                                                                          \
        attribute static void compress(const Compression<Real>& compression, Index count,          \
                                       Real* values) {                                             \
            to_pixels(compression, count, values);                                                 \
        }                                                                                          \
        static constexpr Kernels<Real> table{                                                      \
            diffuse<SradForm::rational>, diffuse<SradForm::exponential>, sum, expand, compress};   \
    };

BUSAUG_SIMD_LEVELS(BUSAUG_KERNELS)
#undef BUSAUG_KERNELS

#define BUSAUG_ROW(name, attribute) name<Real>::table,
template <class Real> constexpr Kernels<Real> tables[] = {BUSAUG_SIMD_LEVELS(BUSAUG_ROW)};
#undef BUSAUG_ROW

// Buffers of one team working on one image.
template <class Real> struct Workspace {
    Workspace(const SradParams& params, bool compressed, int members)
        : image(new Real[static_cast<std::size_t>(
              compressed || params.iterations > 1 ? params.height * params.width : 0)]),
          stride(2 * params.width + gap<Real>),
          coefficients(new Real[static_cast<std::size_t>(stride * members)]),
          sums{std::vector<RowSums>(static_cast<std::size_t>(params.height)),
               std::vector<RowSums>(static_cast<std::size_t>(params.height))} {}

    // Two rows of a member's own.
    Real* coefficient_rows(int rank) const { return coefficients.get() + stride * rank; }

    std::unique_ptr<Real[]> image; // the iterate that is not kept
    Index stride;
    std::unique_ptr<Real[]> coefficients;
    std::vector<RowSums> sums[2]; // of the region's rows: read in one, written in other
};

// One image through all scales; every member of the team calls it.
//
// Iterates alternate between the workspace and the output of the scale at hand, so that the last
// one of a scale is where it is kept. Log-compressed images are expanded into whichever of the two
// the first iteration does not write; a kept one is compressed in place once the next iteration
// has read it.
template <class Real> class Diffusion {
  public:
    Diffusion(const SradParams& params, const SradArrays<Real>& arrays,
              const Kernels<Real>& kernels)
        : params_(params), arrays_(arrays), kernels_(kernels),
          pixels_(params.height * params.width) {}

    Workspace<Real> workspace(int members) const {
        return {params_, arrays_.ranges != nullptr, members};
    }

    void run(Index image, Workspace<Real>& workspace, Team& team) const {
        const Range rows = team.share(params_.height);
        const Region region = region_of(image);
        Real* coefficients = workspace.coefficient_rows(team.rank());
        const Real* source = arrays_.images + image * pixels_;
        if (arrays_.ranges != nullptr) {
            Real* expanded = params_.iterations % 2 == 0 ? kept(0, image) : workspace.image.get();
            kernels_.to_intensities(compression(image), count(rows), first(source, rows),
                                    first(expanded, rows));
            source = expanded;
            team.wait();
        }
        const double origin =
            static_cast<double>(source[region.row * params_.width + region.column]);
        sum_region(source, rows, region, origin, workspace.sums[0]);
        team.wait();

        const Index end = params_.scales * params_.iterations;
        for (Index time = 0; time < end; ++time) {
            const Index scale = time / params_.iterations;
            const Index left = params_.iterations - 1 - time % params_.iterations;
            Real* target = left % 2 == 0 ? kept(scale, image) : workspace.image.get();
            const double q0_squared =
                measured_or_given(region, origin, workspace.sums[time % 2], time);
            kernels_.diffuse(params_.form,
                             {source, target, params_.height, params_.width, rows,
                              speckle_terms<Real>(q0_squared),
                              static_cast<Real>(params_.time_step / 4.0), coefficients});
            sum_region(target, rows, region, origin, workspace.sums[(time + 1) % 2]);
            team.wait();
            if (scale > 0 && time % params_.iterations == 0) {
                compress(scale - 1, image, rows);
            }
            source = target;
        }
        compress(params_.scales - 1, image, rows);
    }

  private:
    Real* kept(Index scale, Index image) const {
        return arrays_.output + (scale * params_.images + image) * pixels_;
    }
    template <class T> T* first(T* image, Range rows) const {
        return image + rows.begin * params_.width;
    }
    Index count(Range rows) const { return (rows.end - rows.begin) * params_.width; }

    Compression<Real> compression(Index image) const {
        const Real* range = arrays_.ranges + 2 * image;
        return {range[0], range[1]};
    }

    void compress(Index scale, Index image, Range rows) const {
        if (arrays_.ranges != nullptr) {
            kernels_.to_pixels(compression(image), count(rows), first(kept(scale, image), rows));
        }
    }

    Region region_of(Index image) const {
        if (arrays_.regions == nullptr) {
            return {0, 0, 0, 0};
        }
        const Index* r = arrays_.regions + 4 * image;
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
        if (arrays_.regions == nullptr) {
            return decayed_q0_squared(params_.q0, params_.decay, params_.time_step, time);
        }
        RowSums total{0.0, 0.0};
        for (Index y = region.row; y < region.row + region.height; ++y) {
            total.sum += sums[static_cast<std::size_t>(y)].sum;
            total.squares += sums[static_cast<std::size_t>(y)].squares;
        }
        return region_q0_squared(origin, total.sum, total.squares, region.height * region.width,
                                 params_.correction);
    }

    const SradParams& params_;
    const SradArrays<Real>& arrays_;
    const Kernels<Real>& kernels_;
    Index pixels_;
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
    require(params.correction == 0 || params.correction == 1,
            "srad: correction is neither 0 nor 1");
}

template <class Real>
void srad_cpu(const SradParams& params, const SradArrays<Real>& arrays, int threads,
              const std::string& simd) {
    check_srad(params);
    require(threads > 0, "srad: threads must be positive");
    for (Index i = 0; arrays.regions != nullptr && i < params.images; ++i) {
        const Index* r = arrays.regions + 4 * i;
        require(r[0] >= 0 && r[1] >= 0 && r[2] > 0 && r[3] > 0 && r[2] <= params.height - r[0] &&
                    r[3] <= params.width - r[1],
                "srad: a region lies outside the image");
    }
    const Diffusion<Real> diffusion(params, arrays, tables<Real>[simd_level(simd)]);
    for_each_image(
        params.images, params.height, threads,
        [&](int members) { return diffusion.workspace(members); },
        [&](Index image, Workspace<Real>& workspace, Team& team) {
            diffusion.run(image, workspace, team);
        });
}

template void srad_cpu(const SradParams&, const SradArrays<float>&, int, const std::string&);
template void srad_cpu(const SradParams&, const SradArrays<double>&, int, const std::string&);

} // namespace busaug
