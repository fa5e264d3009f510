// A block of CUDA threads on one CPU thread: each is a fiber, scheduled in an order drawn by a seed.
//
// A fiber runs until it waits: at a barrier of the block or the warp, or in an operation of the
// warp, which the last of its 32 lanes computes for all. Shared memory is checked byte by byte: was
// it written in this block, and could an access of another thread fall together with this one? Two
// accesses are in order where a barrier lies between them: of the block, or of their common warp.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace machine {

constexpr unsigned LANES = 32;

// Who touched a byte of shared memory last.
struct Shadow {
    static constexpr int NOBODY = -1, MANY = -2;
    int writer = NOBODY, write_block = 0, write_warp = 0; // thread, and its barriers so far
    int reader = NOBODY, read_block = 0, read_warp = 0, reading_warp = NOBODY;
    bool written = false;
};

struct Thread {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    bool done = false;
    unsigned block_barriers = 0, warp_barriers = 0; // that it came to
};

// An operation that 32 lanes make together.
struct Meeting {
    unsigned arrived = 0;
    int kind = 0;
    const void *in[LANES];
    void *out[LANES];
};

struct Region {
    std::uintptr_t begin, end;
    bool writable;
};

class Block {
public:
    static constexpr std::size_t STACK = 64 * 1024;
    unsigned index = 0, current = 0;
    std::vector<unsigned char> shared;
    std::vector<Region> regions;
    std::string failure;
    // The barriers, counted from 0, that no thread heeds: to see that a missing one is found.
    int lost_block_barrier = -1, lost_warp_barrier = -1;

    Block(unsigned threads, unsigned shared_bytes, std::uint64_t seed)
        : shared(shared_bytes), threads_(threads), warps_((threads + LANES - 1) / LANES),
          meetings_(warps_), warp_barriers_(warps_), random_(seed * 2 + 1)
    {
        for (auto &thread : threads_)
            thread.stack.reset(new char[STACK]);
    }

    // Runs `body` in every thread; false after a failure.
    bool run(unsigned block, const std::function<void()> &body)
    {
        index = block;
        body_ = &body;
        std::fill(shared.begin(), shared.end(), 0xff); // NaN in every type
        shadow_.assign(shared.size(), Shadow{});
        waiting_.clear();
        ready_.clear();
        block_barriers_ = 0;
        std::fill(warp_barriers_.begin(), warp_barriers_.end(), 0);
        std::fill(meetings_.begin(), meetings_.end(), Meeting{});
        unsigned alive = static_cast<unsigned>(threads_.size());
        for (unsigned i = 0; i < alive; i++)
            prepare(i);
        while (!ready_.empty()) {
            std::swap(ready_[draw() % ready_.size()], ready_.back());
            current = ready_.back();
            ready_.pop_back();
            swapcontext(&scheduler_, &threads_[current].context);
            if (!failure.empty())
                return false;
            alive -= threads_[current].done;
        }
        if (alive)
            failure = "block " + std::to_string(block) + ": " + std::to_string(alive) +
                      " threads wait for others that have ended or wait elsewhere";
        return failure.empty();
    }

    // Barriers that thread 0 came to, of the block and of its warp.
    unsigned block_barriers() const { return threads_[0].block_barriers; }
    unsigned warp_barriers() const { return threads_[0].warp_barriers; }

    [[noreturn]] void fail(const std::string &what)
    {
        failure = "block " + std::to_string(index) + ", thread " + std::to_string(current) + ": " + what;
        swapcontext(&threads_[current].context, &scheduler_);
        __builtin_unreachable();
    }

    void sync_block()
    {
        if (static_cast<int>(threads_[current].block_barriers++) == lost_block_barrier)
            return;
        waiting_.push_back(current);
        if (waiting_.size() == threads_.size()) {
            block_barriers_++;
            ready_.insert(ready_.end(), waiting_.begin(), waiting_.end());
            waiting_.clear();
        }
        yield();
    }

    // Waits for all lanes of the warp; the last calls `compute` with what each brought.
    template <class Compute> void meet(int kind, const void *in, void *out, Compute compute)
    {
        const unsigned warp = current / LANES;
        Meeting &meeting = meetings_[warp];
        if (meeting.arrived && meeting.kind != kind)
            fail("the lanes of a warp make different operations together");
        meeting.kind = kind;
        meeting.in[current % LANES] = in;
        meeting.out[current % LANES] = out;
        if (++meeting.arrived == LANES) {
            compute(meeting.in, meeting.out);
            meeting.arrived = 0;
            for (unsigned lane = 0; lane < LANES; lane++)
                ready_.push_back(warp * LANES + lane);
        }
        yield();
    }

    void sync_warp()
    {
        if (static_cast<int>(threads_[current].warp_barriers++) == lost_warp_barrier)
            return;
        meet(1, nullptr, nullptr, [this](auto, auto) { warp_barriers_[current / LANES]++; });
    }

    const unsigned char *read(unsigned offset, unsigned bytes, unsigned alignment)
    {
        check_shared(offset, bytes, alignment);
        for (unsigned i = offset; i < offset + bytes; i++)
            note_read(shadow_[i], i);
        return &shared[offset];
    }

    unsigned char *write(unsigned offset, unsigned bytes, unsigned alignment)
    {
        check_shared(offset, bytes, alignment);
        for (unsigned i = offset; i < offset + bytes; i++)
            note_write(shadow_[i], i);
        return &shared[offset];
    }

    void check_global(const void *p, unsigned bytes, unsigned alignment, bool writing)
    {
        const auto at = reinterpret_cast<std::uintptr_t>(p);
        if (at % alignment)
            fail("global memory: an address is not aligned to " + std::to_string(alignment));
        for (const Region &region : regions)
            if (at >= region.begin && at + bytes <= region.end && (region.writable || !writing))
                return;
        fail(std::string("global memory: ") + (writing ? "a store" : "a load") + " out of bounds");
    }

private:
    std::vector<Thread> threads_;
    unsigned warps_;
    std::vector<Meeting> meetings_;
    std::vector<int> warp_barriers_;
    std::vector<Shadow> shadow_;
    std::vector<unsigned> ready_, waiting_;
    std::uint64_t random_;
    int block_barriers_ = 0;
    ucontext_t scheduler_;
    const std::function<void()> *body_ = nullptr;

    std::uint64_t draw() // xorshift64
    {
        random_ ^= random_ << 13;
        random_ ^= random_ >> 7;
        return random_ ^= random_ << 17;
    }

    void prepare(unsigned i)
    {
        Thread &thread = threads_[i];
        thread.done = false;
        thread.block_barriers = thread.warp_barriers = 0;
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack.get();
        thread.context.uc_stack.ss_size = STACK;
        thread.context.uc_link = &scheduler_;
        const auto self = reinterpret_cast<std::uintptr_t>(this);
        makecontext(&thread.context, reinterpret_cast<void (*)()>(enter), 2,
                    static_cast<unsigned>(self), static_cast<unsigned>(self >> 32));
        ready_.push_back(i);
    }

    static void enter(unsigned low, unsigned high)
    {
        auto *self = reinterpret_cast<Block *>(low | static_cast<std::uintptr_t>(high) << 32);
        (*self->body_)();
        self->threads_[self->current].done = true;
    }

    void yield()
    {
        swapcontext(&threads_[current].context, &scheduler_);
    }

    void check_shared(unsigned offset, unsigned bytes, unsigned alignment)
    {
        if (offset % alignment)
            fail("shared memory: byte " + std::to_string(offset) + " is not aligned to " +
                 std::to_string(alignment));
        if (offset + bytes > shared.size() || offset + bytes < offset)
            fail("shared memory: byte " + std::to_string(offset) + " is out of bounds");
    }

    // Whether an access of `thread`, when it had seen so many barriers, is over for certain.
    bool over(int thread, int block, int warp) const
    {
        const auto me = static_cast<int>(current);
        return thread == Shadow::NOBODY || thread == me || block < block_barriers_ ||
               (thread / 32 == me / 32 && warp < warp_barriers_[current / LANES]);
    }

    void note_read(Shadow &s, unsigned at)
    {
        if (!s.written)
            fail("shared memory: byte " + std::to_string(at) + " is read before it is written");
        if (!over(s.writer, s.write_block, s.write_warp))
            fail("shared memory: race, byte " + std::to_string(at) + " is read while thread " +
                 std::to_string(s.writer) + " may write it");
        const int me = static_cast<int>(current), my_warp = me / 32;
        const int barriers = warp_barriers_[current / LANES];
        if (s.reader == Shadow::NOBODY || s.read_block < block_barriers_) {
            s.reader = me, s.reading_warp = my_warp;
        } else if (s.reading_warp != my_warp) {
            s.reader = s.reading_warp = Shadow::MANY;
        } else if (s.read_warp < barriers) {
            s.reader = me; // older reads of this warp are over
        } else if (s.reader != me) {
            s.reader = Shadow::MANY;
        }
        s.read_block = block_barriers_, s.read_warp = barriers;
    }

    void note_write(Shadow &s, unsigned at)
    {
        const int me = static_cast<int>(current);
        if (!over(s.writer, s.write_block, s.write_warp))
            fail("shared memory: race, byte " + std::to_string(at) + " is written by thread " +
                 std::to_string(s.writer) + ", too");
        const bool reads_over =
            s.reader == Shadow::NOBODY || s.reader == me || s.read_block < block_barriers_ ||
            (s.reading_warp == me / 32 && s.read_warp < warp_barriers_[current / LANES]);
        if (!reads_over)
            fail("shared memory: race, byte " + std::to_string(at) +
                 " is written while another thread may read it");
        s.writer = me, s.write_block = block_barriers_, s.write_warp = warp_barriers_[current / LANES];
        s.reader = s.reading_warp = Shadow::NOBODY;
        s.written = true;
    }
};

inline thread_local Block *block = nullptr; // the one that runs in this CPU thread

} // namespace machine
