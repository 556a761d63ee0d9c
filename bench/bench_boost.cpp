/* SPDX-License-Identifier: MIT */
/* bench_boost.cpp - a shared arena against Boost.Interprocess's managed_shared_memory.
 *
 * Usage   bench_boost [ROUNDS]      default 9; `make bench/bench_boost`, which needs libboost-dev
 *         Allocate and free 100 bytes, 64 live, by one process and by two at a time, as bench_shared
 *         does it.
 * Prints  TSV, medians over the rounds, in which the contenders take turns.
 */
#include <boost/interprocess/managed_shared_memory.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <vector>

#include "huma.h"

namespace ipc = boost::interprocess;

namespace {

const unsigned live_count = 64;
const double round_s = 0.2;

struct stage {
    uint32_t is_begun;
    double per_us[2];
};

double
now_s()
{
    timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

/* Pairs in a microsecond. */
template <class Heap>
double
churn(Heap &heap)
{
    typename Heap::block live[live_count] = {};
    double begin_s = now_s();
    double end_s = begin_s;
    unsigned long count = 0;

    while (end_s < begin_s + round_s) {
        for (int i = 0; i < 1000; i++, count++) {
            typename Heap::block &slot = live[count % live_count];

            if (slot)
                heap.release(slot);
            slot = heap.alloc();
        }
        end_s = now_s();
    }
    for (unsigned i = 0; i < live_count; i++)
        heap.release(live[i]);
    return static_cast<double>(count) / (end_s - begin_s) / 1e6;
}

template <class Heap>
double
run(Heap &heap, stage *stage, unsigned process_count)
{
    double sum = 0;

    stage->is_begun = 0;
    for (unsigned i = 0; i < process_count; i++)
        if (fork() == 0) {
            heap.release(heap.alloc());
            while (__atomic_load_n(&stage->is_begun, __ATOMIC_ACQUIRE) == 0)
                continue;
            stage->per_us[i] = churn(heap);
            _exit(0);
        }
    __atomic_store_n(&stage->is_begun, 1, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < process_count; i++)
        wait(nullptr);
    for (unsigned i = 0; i < process_count; i++)
        sum += stage->per_us[i];
    return sum;
}

struct arena_heap {
    typedef uint64_t block;

    huma_shared *shared;

    block alloc() { return huma_shared_alloc(shared, 100); }
    void release(block off) { (void)huma_shared_free(shared, off); }
};

struct boost_heap {
    typedef void *block;

    ipc::managed_shared_memory *segment;

    block alloc() { return segment->allocate(100); }
    void release(block mem) { segment->deallocate(mem); }
};

double
median(std::vector<double> values)
{
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

} // namespace

int
main(int argc, char **argv)
{
    int round_count = argc > 1 ? std::atoi(argv[1]) : 9;
    huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    std::string name = "bench_boost." + std::to_string(getpid());
    stage *shared_stage = static_cast<stage *>(mmap(nullptr, sizeof(stage), PROT_READ | PROT_WRITE,
                                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    static const char *const names[]
        = { "arena, 1 process", "arena, 2 processes", "boost, 1 process", "boost, 2 processes" };
    std::vector<double> values[4];

    options.backing = "thp,4k";
    options.limit_bytes = static_cast<size_t>(64) << 20;
    arena_heap arena = { huma_shared_create(&options) };
    ipc::managed_shared_memory segment(ipc::create_only, name.c_str(), options.limit_bytes);
    boost_heap boost = { &segment };
    ipc::shared_memory_object::remove(name.c_str());
    if (arena.shared == nullptr || round_count < 1) {
        std::fprintf(stderr, "bench_boost: %s\n", huma_last_error());
        return 1;
    }
    for (int round = 0; round < round_count; round++)
        for (unsigned i = 0; i < 4; i++)
            values[i].push_back(i < 2 ? run(arena, shared_stage, i + 1)
                                      : run(boost, shared_stage, i - 1));
    std::printf("contender\tpairs_per_us\tarena_is\n");
    for (unsigned i = 0; i < 4; i++)
        std::printf("%s\t%.1f\t%.2f\n", names[i], median(values[i]),
                    median(values[i % 2]) / median(values[i]));
    return 0;
}
