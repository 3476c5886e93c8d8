// The quietest window of an image. Windows start at every eighth pixel, so that they are made of
// cells of 8x8 pixels whose sums are taken once.
#include "busaug/srad.hpp"

#include "batch.hpp"
#include "busaug/api.hpp"
#include "busaug/status.hpp"
#include "simd.hpp"

#include <algorithm>
#include <cmath>

namespace busaug {
namespace {

constexpr Index window_px = 32;
constexpr Index stride_px = 8;
constexpr double no_speckle = 1e-6; // relative deviation of a window that is no tissue

// Windows along one axis.
struct Axis {
    Index cell_px;
    Index window_cells;
    Index windows;

    // An image smaller than a window is one window of one cell.
    explicit Axis(Index extent)
        : cell_px(extent < window_px ? extent : stride_px),
          window_cells(extent < window_px ? 1 : window_px / stride_px),
          windows(extent < window_px ? 1 : (extent - window_px) / stride_px + 1) {}

    Index cells() const { return windows + window_cells - 1; }
    Index pixels() const { return cells() * cell_px; }
};

// Sums of intensities relative to an origin.
struct Moments {
    double sum, squares;
};

// Adds a row to the sums of its columns.
template <bool compressed, class Real>
BUSAUG_INLINE void add_row(const Real* BUSAUG_RESTRICT row, Index width,
                           const Compression<Real>& compression, double origin,
                           double* BUSAUG_RESTRICT sum, double* BUSAUG_RESTRICT squares) {
    for (Index x = 0; x < width; ++x) {
        const Real intensity = compressed ? compression.intensity(row[x]) : row[x];
        const double value = static_cast<double>(intensity) - origin;
        sum[x] += value;
        squares[x] += value * value;
    }
}

template <class Real> struct Kernels {
    using AddRow = void (*)(const Real*, Index, const Compression<Real>&, double, double*, double*);
    AddRow add_linear;
    AddRow add_compressed;
};

#define BUSAUG_KERNELS(name, attribute)                                                            \
    template <class Real> struct name {                                                            \
        template <bool compressed>                                                                 \
        attribute static void add(const Real* row, Index width,                                    \
                                  const Compression<Real>& compression, double origin,             \
                                  double* sum, double* squares) {                                  \
            add_row<compressed>(row, width, compression, origin, sum, squares);                    \
        }                                                                                          \
        static constexpr Kernels<Real> table{add<false>, add<true>};                               \
    };

BUSAUG_SIMD_LEVELS(BUSAUG_KERNELS)
#undef BUSAUG_KERNELS

#define BUSAUG_ROW(name, attribute) name<Real>::table,
template <class Real> constexpr Kernels<Real> tables[] = {BUSAUG_SIMD_LEVELS(BUSAUG_ROW)};
#undef BUSAUG_ROW

struct Workspace {
    Workspace(const Axis& rows, const Axis& columns, int members)
        : stride(2 * columns.pixels() + gap<double>),
          sums(static_cast<std::size_t>(stride * members)),
          cells(static_cast<std::size_t>(rows.cells() * columns.cells())),
          means(static_cast<std::size_t>(rows.windows * columns.windows)), variation(means),
          sorted(means) {}

    double* column_sums(int rank) { return sums.data() + stride * rank; }

    Index stride;
    std::vector<double> sums; // of columns: plain and squared, for each member
    std::vector<Moments> cells;
    std::vector<double> means, variation; // of windows; variation: variance over squared mean
    std::vector<double> sorted;
};

template <class Real> class Search {
  public:
    Search(const QuietRegions<Real>& task, const Kernels<Real>& kernels)
        : task_(task), kernels_(kernels), rows_(task.height), columns_(task.width) {}

    Workspace workspace(int members) const { return {rows_, columns_, members}; }

    void run(Index image, Workspace& workspace, Team& team) const {
        const Real* pixels = task_.pixels + image * task_.height * task_.width;
        const bool compressed = task_.ranges != nullptr;
        const Compression<Real> compression =
            compressed ? Compression<Real>(task_.ranges[2 * image], task_.ranges[2 * image + 1])
                       : Compression<Real>(Real(0), Real(1));
        const double origin =
            static_cast<double>(compressed ? compression.intensity(pixels[0]) : pixels[0]);
        const auto add_row = compressed ? kernels_.add_compressed : kernels_.add_linear;

        double* sum = workspace.column_sums(team.rank());
        double* squares = sum + columns_.pixels();
        const Range share = team.share(rows_.cells());
        for (Index row = share.begin; row < share.end; ++row) {
            std::fill(sum, squares + columns_.pixels(), 0.0);
            for (Index y = row * rows_.cell_px; y < (row + 1) * rows_.cell_px; ++y) {
                add_row(pixels + y * task_.width, columns_.pixels(), compression, origin, sum,
                        squares);
            }
            add_columns(sum, squares,
                        &workspace.cells[static_cast<std::size_t>(row * columns_.cells())]);
        }
        team.wait();
        if (team.rank() == 0) {
            measure_windows(origin, workspace);
            const Index window = quietest(workspace);
            Index* region = task_.regions + 4 * image;
            region[0] = window / columns_.windows * stride_px;
            region[1] = window % columns_.windows * stride_px;
            region[2] = rows_.window_cells * rows_.cell_px;
            region[3] = columns_.window_cells * columns_.cell_px;
        }
        team.wait();
    }

  private:
    void add_columns(const double* sum, const double* squares, Moments* cells) const {
        for (Index cell = 0; cell < columns_.cells(); ++cell) {
            Moments total{0.0, 0.0};
            for (Index x = cell * columns_.cell_px; x < (cell + 1) * columns_.cell_px; ++x) {
                total.sum += sum[x];
                total.squares += squares[x];
            }
            cells[cell] = total;
        }
    }

    void measure_windows(double origin, Workspace& workspace) const {
        const Index count =
            rows_.window_cells * rows_.cell_px * columns_.window_cells * columns_.cell_px;
        std::size_t window = 0;
        for (Index top = 0; top < rows_.windows; ++top) {
            for (Index left = 0; left < columns_.windows; ++left, ++window) {
                Moments total{0.0, 0.0};
                for (Index row = top; row < top + rows_.window_cells; ++row) {
                    const Moments* cells =
                        &workspace.cells[static_cast<std::size_t>(row * columns_.cells() + left)];
                    for (Index cell = 0; cell < columns_.window_cells; ++cell) {
                        total.sum += cells[cell].sum;
                        total.squares += cells[cell].squares;
                    }
                }
                const double mean = origin + total.sum / static_cast<double>(count);
                // a NaN would be sorted: it becomes 0
                workspace.means[window] = mean > 0.0 ? mean : 0.0;
                workspace.variation[window] =
                    region_q0_squared(origin, total.sum, total.squares, count);
            }
        }
    }

    static Index quietest(Workspace& workspace) {
        const std::vector<double>& means = workspace.means;
        const std::vector<double>& variation = workspace.variation;
        std::vector<double>& sorted = workspace.sorted;
        const auto last = static_cast<std::ptrdiff_t>(means.size()) - 1;
        sorted = means;
        const auto bound = [&](std::ptrdiff_t position) {
            std::nth_element(sorted.begin(), sorted.begin() + position, sorted.end());
            return sorted[static_cast<std::size_t>(position)];
        };
        const double low = bound(last / 5);         // 20th percentile, rounded down to a window
        const double high = bound(last - last / 5); // 80th, rounded up

        const auto better = [&](std::size_t window, std::size_t best) {
            const bool speckled = variation[window] > no_speckle * no_speckle;
            const bool best_speckled = variation[best] > no_speckle * no_speckle;
            return speckled != best_speckled ? speckled : variation[window] < variation[best];
        };
        std::size_t best = means.size();
        for (std::size_t window = 0; window < means.size(); ++window) {
            if (means[window] >= low && means[window] <= high &&
                (best == means.size() || better(window, best))) {
                best = window;
            }
        }
        return static_cast<Index>(best);
    }

    const QuietRegions<Real>& task_;
    const Kernels<Real>& kernels_;
    Axis rows_, columns_;
};

} // namespace

template <class Real>
void quiet_regions_cpu(const QuietRegions<Real>& task, int threads, const std::string& simd) {
    require(task.images >= 0 && task.height > 0 && task.width > 0,
            "quiet_regions: extents must be positive");
    require(threads > 0, "quiet_regions: threads must be positive");
    const Search<Real> search(task, tables<Real>[simd_level(simd)]);
    for_each_image(
        task.images, task.height, threads, [&](int members) { return search.workspace(members); },
        [&](Index image, Workspace& workspace, Team& team) { search.run(image, workspace, team); });
}

template void quiet_regions_cpu(const QuietRegions<float>&, int, const std::string&);
template void quiet_regions_cpu(const QuietRegions<double>&, int, const std::string&);

} // namespace busaug
