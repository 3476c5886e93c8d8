// Functions that take turns on one thread, each on a stack of its own.
#pragma once

#include <memory>

namespace emulator {

class Fibre {
  public:
    // Will run `body`, once, when it is resumed.
    explicit Fibre(void (*body)());

    // Runs it until it pauses or ends. Not to be called of one that has ended.
    void resume();
    // Called in a fibre: back to whoever resumed it.
    static void pause();

    bool ended() const { return ended_; }

  private:
    struct Recycle {
        void operator()(char* stack) const;
    };
    static void start();

    std::unique_ptr<char, Recycle> stack_;
    void (*body_)();
    void* stack_pointer_;
    void* fake_stack_ = nullptr; // AddressSanitizer's
    bool ended_ = false;
};

} // namespace emulator
