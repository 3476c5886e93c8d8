#include "fibre.hpp"

#include "emulator.hpp"

#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <vector>

#if !defined(__x86_64__)
#error "the fibres of the emulator are written for x86-64"
#endif

// Puts the registers that a function must keep on the stack in use, leaves its pointer in *from,
// and goes on where the stack `to` was left.
extern "C" void emulator_switch_stack(void** from, void* to);
asm(R"(
.text
.globl emulator_switch_stack
.type emulator_switch_stack, @function
emulator_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulator_switch_stack, .-emulator_switch_stack
)");

namespace emulator {
namespace {

constexpr std::size_t stack_bytes = 128 * 1024;
constexpr std::size_t last_frames = 4 * 1024; // more than start() and what it calls to pause take
constexpr int kept_registers = 6;

std::vector<char*> unused_stacks;

Fibre* running = nullptr;
void* resumer = nullptr; // its stack pointer
const void* resumer_stack = nullptr;
std::size_t resumer_stack_bytes = 0;

char* take_stack() {
    if (unused_stacks.empty()) {
        void* memory = mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) {
            fail("no memory for another stack");
        }
        return static_cast<char*>(memory);
    }
    char* stack = unused_stacks.back();
    unused_stacks.pop_back();
    // the frames that the last fibre left for good are still poisoned
    __asan_unpoison_memory_region(stack + stack_bytes - last_frames, last_frames);
    return stack;
}

} // namespace

void Fibre::Recycle::operator()(char* stack) const { unused_stacks.push_back(stack); }

Fibre::Fibre(void (*body)()) : stack_(take_stack()), body_(body) {
    void** top = reinterpret_cast<void**>(stack_.get() + stack_bytes);
    *--top = nullptr; // start() never returns; keeps the alignment of a call
    *--top = reinterpret_cast<void*>(&Fibre::start);
    for (int i = 0; i < kept_registers; ++i) {
        *--top = nullptr;
    }
    stack_pointer_ = top;
}

void Fibre::start() {
    __sanitizer_finish_switch_fiber(nullptr, &resumer_stack, &resumer_stack_bytes);
    running->body_();
    running->ended_ = true;
    pause();
    std::abort();
}

void Fibre::resume() {
    running = this;
    void* fake_stack = nullptr;
    __sanitizer_start_switch_fiber(&fake_stack, stack_.get(), stack_bytes);
    emulator_switch_stack(&resumer, stack_pointer_);
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
    running = nullptr;
}

void Fibre::pause() {
    Fibre* const self = running;
    __sanitizer_start_switch_fiber(&self->fake_stack_, resumer_stack, resumer_stack_bytes);
    emulator_switch_stack(&self->stack_pointer_, resumer);
    __sanitizer_finish_switch_fiber(self->fake_stack_, nullptr, nullptr);
}

} // namespace emulator
