// Runs launchers of csrc/cuda on the emulated device: requests on standard input, replies on
// standard output, until the input ends.
//
// Request: a line with the op and key=value words, then the bytes of the input arrays. Reply: a
// line "ok" or "error" with two counts, then so many bytes of output and so many of log (for an
// error: of its message).
#include "busaug/api.hpp"
#include "cuda_runtime.h"
#include "emulator.hpp"
#include "runtime.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <memory>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>

namespace {

using busaug::Index;

class Request {
  public:
    explicit Request(const std::string& line) {
        std::istringstream words(line);
        words >> op;
        for (std::string word; words >> word;) {
            const std::size_t equals = word.find('=');
            values_[word.substr(0, equals)] = word.substr(equals + 1);
        }
    }
    const std::string& text(const std::string& key) const {
        const auto found = values_.find(key);
        if (found == values_.end()) {
            emulator::fail("the request does not say " + key);
        }
        return found->second;
    }
    Index integer(const std::string& key) const { return std::stoll(text(key)); }
    double real(const std::string& key) const { return std::stod(text(key)); }

    std::string op;

  private:
    std::map<std::string, std::string> values_;
};

// "Global memory": exactly as many bytes, so that AddressSanitizer sees a step outside; all of them
// NaN at first, so that a value never written is seen.
class Array {
  public:
    // Aligned as torch's are; `shift` bytes after such an address where a slice is played.
    explicit Array(Index bytes, Index shift = 0) : bytes_(static_cast<std::size_t>(bytes)) {
        constexpr std::size_t alignment = 512;
        void* memory = nullptr;
        if (posix_memalign(&memory, alignment, bytes_ + static_cast<std::size_t>(shift)) != 0) {
            throw std::bad_alloc();
        }
        memory_.reset(static_cast<char*>(memory));
        start_ = memory_.get() + shift;
        std::memset(start_, 0xff, bytes_);
    }
    // With so many bytes `missing` at the end, to see a step outside found.
    static Array read(Index bytes, Index shift = 0, Index missing = 0) {
        Array array(bytes - missing, shift);
        std::string given(static_cast<std::size_t>(bytes), 0);
        if (!std::cin.read(given.data(), static_cast<std::streamsize>(bytes))) {
            throw std::runtime_error("the request ends early");
        }
        std::memcpy(array.start_, given.data(), array.bytes_);
        return array;
    }
    template <class T> T* as() const { return reinterpret_cast<T*>(start_); }
    std::string bytes() const { return {start_, bytes_}; }

  private:
    struct Free {
        void operator()(char* memory) const { std::free(memory); }
    };
    std::size_t bytes_;
    std::unique_ptr<char, Free> memory_;
    char* start_;
};

void settle(const Request& request) {
    emulator::Settings settings;
    settings.architecture = static_cast<int>(request.integer("architecture"));
    settings.multiprocessors = static_cast<int>(request.integer("multiprocessors"));
    settings.shared_bytes = static_cast<std::size_t>(request.integer("shared_bytes"));
    settings.order = request.text("order");
    settings.seed = static_cast<unsigned>(request.integer("seed"));
    settings.skipped_file = request.text("skipped_file");
    settings.skipped_line = static_cast<int>(request.integer("skipped_line"));
    emulator::configure(settings);
}

template <class Real> std::string srad(const Request& request) {
    const busaug::SradParams params{request.integer("images"),
                                    request.integer("height"),
                                    request.integer("width"),
                                    request.integer("scales"),
                                    request.integer("iterations"),
                                    request.real("time_step"),
                                    request.real("q0"),
                                    request.real("decay"),
                                    static_cast<busaug::SradForm>(request.integer("form")),
                                    request.integer("correction")};
    const Index bytes =
        params.images * params.height * params.width * static_cast<Index>(sizeof(Real));
    const bool measured = request.integer("measured") != 0;
    const bool compressed = request.integer("compressed") != 0;
    const auto images = Array::read(bytes, request.integer("shift"), request.integer("missing"));
    const auto regions =
        Array::read(measured ? params.images * 4 * static_cast<Index>(sizeof(Index)) : 0);
    const auto ranges =
        Array::read(compressed ? params.images * 2 * static_cast<Index>(sizeof(Real)) : 0);
    const Array output(bytes * params.scales);
    const busaug::SradArrays<Real> arrays{
        images.as<Real>(), measured ? regions.as<Index>() : nullptr,
        compressed ? ranges.as<Real>() : nullptr, output.as<Real>()};
    const int device = emulator::device_asked_for;
    const Index needed = busaug::srad_cuda_workspace<Real>(params, device);
    const Array workspace(needed);
    busaug::srad_cuda<Real>(params, arrays, needed > 0 ? workspace.as<void>() : nullptr, device,
                            emulator::stream_asked_for());
    return output.bytes();
}

// Loss and difference, one after the other.
std::string gram(const Request& request) {
    static const std::map<std::string, busaug::FeatureType> types{
        {"float32", busaug::FeatureType::float32},
        {"float16", busaug::FeatureType::float16},
        {"bfloat16", busaug::FeatureType::bfloat16}};
    const busaug::GramTask task{request.integer("images"), request.integer("channels"),
                                request.integer("positions"), types.at(request.text("dtype")),
                                request.integer("channels_innermost") != 0};
    const Index element = task.type == busaug::FeatureType::float32 ? 4 : 2;
    const Index matrices = task.images * task.channels * task.channels * 4;
    const auto features = Array::read(task.images * task.channels * task.positions * element,
                                      request.integer("shift"));
    const auto target = Array::read(matrices, request.integer("shift"));
    const Array difference(matrices);
    const Array loss(task.images * 4);
    const Array workspace(busaug::gram_difference_cuda_workspace(task));
    busaug::gram_difference_cuda(
        task, {features.as<void>(), target.as<float>(), difference.as<float>(), loss.as<float>()},
        workspace.as<void>(), emulator::device_asked_for, emulator::stream_asked_for());
    return loss.bytes() + difference.bytes();
}

// One step of the alpha-beta rule. Inputs come one after the other; a second operand may be
// missing.
template <class Real> std::string lrp(const Request& request) {
    const busaug::OnCuda where{emulator::device_asked_for, emulator::stream_asked_for()};
    const busaug::LrpUnits units{request.integer("outer"), request.integer("channels"),
                                 request.integer("inner")};
    const auto real = static_cast<Index>(sizeof(Real));
    const Index bytes = units.size() * real;
    const std::string& step = request.text("step");
    if (step == "product") {
        const busaug::LrpImages extent{units.outer, units.channels * units.inner,
                                       request.integer("blocks")};
        const auto left = Array::read(bytes);
        const auto right = Array::read(bytes);
        const Array product(bytes);
        const Array sums(extent.all_blocks() * static_cast<Index>(sizeof(busaug::LrpSums)));
        busaug::lrp_product<Real>(extent, left.as<Real>(), right.as<Real>(), product.as<Real>(),
                                  sums.as<busaug::LrpSums>(), where);
        return product.bytes() + sums.bytes();
    }
    const bool doubled = step == "split" || step == "quotients";
    const Array output(doubled ? 2 * bytes : bytes);
    const auto first = Array::read(bytes);
    if (step == "split") {
        busaug::lrp_split<Real>(units, first.as<Real>(), output.as<Real>(), where);
    } else if (step == "merge") {
        const auto back = Array::read(2 * bytes);
        busaug::lrp_merge<Real>(units, first.as<Real>(), back.as<Real>(), output.as<Real>(), where);
    } else if (step == "rectified_sum") {
        const bool alone = request.integer("alone") != 0;
        const auto right = Array::read(alone ? 0 : bytes);
        const auto bias = Array::read(units.channels * real);
        busaug::lrp_rectified_sum<Real>(units, first.as<Real>(), alone ? nullptr : right.as<Real>(),
                                        bias.as<Real>(), output.as<Real>(), where);
    } else if (step == "quotients") {
        const auto linear = Array::read(bytes);
        const auto bias = Array::read(units.channels * real);
        const auto factor = Array::read(bytes);
        const busaug::LrpRule rule{request.real("alpha"),
                                   request.real("beta"),
                                   request.real("rounding"),
                                   request.integer("zero_part") != 0,
                                   request.integer("absorb_bias") != 0,
                                   static_cast<busaug::LrpFactor>(request.integer("factor_kind")),
                                   2};
        const busaug::LrpLayer<Real> layer{first.as<Real>(), linear.as<Real>(), bias.as<Real>(),
                                           factor.as<Real>()};
        busaug::lrp_quotients<Real>(units, rule, layer, output.as<Real>(), where);
    } else {
        throw std::runtime_error("no such step: " + step);
    }
    return output.bytes();
}

std::string answer(const Request& request) {
    if (request.op == "lrp") {
        return request.text("dtype") == "float32" ? lrp<float>(request) : lrp<double>(request);
    }
    if (request.op == "gram") {
        return gram(request);
    }
    if (request.op == "srad") {
        return request.text("dtype") == "float32" ? srad<float>(request) : srad<double>(request);
    }
    throw std::runtime_error("no such op: " + request.op);
}

void reply(const char* verdict, const std::string& output, const std::string& log) {
    std::cout << verdict << ' ' << output.size() << ' ' << log.size() << '\n' << output << log;
    std::cout.flush();
}

// What a launcher must leave behind, whether it succeeded or threw.
void check_manners() {
    if (emulator::device_in_use() != 0) {
        emulator::fail("the device that was current is not again");
    }
    if (cudaGetLastError() != cudaSuccess) {
        emulator::fail("an error is left for others to find");
    }
}

} // namespace

int main() {
    for (std::string line; std::getline(std::cin, line);) {
        try {
            const Request request(line);
            settle(request);
            const std::string output = answer(request);
            check_manners();
            reply("ok", output, emulator::take_log());
        } catch (const std::exception& error) {
            check_manners();
            emulator::take_log();
            reply("error", "", error.what());
        }
    }
}
