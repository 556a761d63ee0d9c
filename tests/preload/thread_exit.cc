// SPDX-License-Identifier: MIT
// thread_exit.cc - threads that allocate and free while they end.
//
// Problem     A thread's last calls come when its cache may be gone already: from destructors of
//             thread_local objects, from those of pthread keys, which run after the library's own
//             and up to four times over, and from cleanup handlers of a thread that is cancelled.
// Idea        Each kind of end, many times, a few threads at a time. What the destructors leave
//             behind, main checks and frees; what main made, they free.
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <pthread.h>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#define EXPECT(condition)                                                                          \
    ((condition)                                                                                   \
         ? (void)0                                                                                 \
         : (std::fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition), std::abort()))

namespace {

const std::size_t sizes[] = { 8, 100, 1000, 5000, 30000, 100000, 3 << 20 };

// Blocks on their way from a thread that ends to main.
std::mutex left_lock;
std::vector<std::pair<char *, std::size_t>> left;

void
fill(char *block, std::size_t size)
{
    EXPECT(block != nullptr);
    block[0] = block[size / 2] = block[size - 1] = (char)(size % 251);
}

void
expect_filled(const char *block, std::size_t size)
{
    char want = (char)(size % 251);
    EXPECT(block[0] == want && block[size / 2] == want && block[size - 1] == want);
}

// Blocks of each size: allocated, resized, freed; some are left for main.
void
work(unsigned round)
{
    for (std::size_t size : sizes) {
        char *block = static_cast<char *>(std::malloc(size));
        fill(block, size);
        if ((size + round) % 3 != 0) {
            block = static_cast<char *>(std::realloc(block, 2 * size));
            EXPECT(block != nullptr && block[size / 2] == (char)(size % 251));
            std::free(block);
            continue;
        }
        std::lock_guard<std::mutex> guard(left_lock);
        left.emplace_back(block, size);
    }
}

void
take_left()
{
    for (auto &entry : left) {
        expect_filled(entry.first, entry.second);
        std::free(entry.first);
    }
    left.clear();
    left.shrink_to_fit();
}

// Destroyed with the thread, before any pthread key.
struct Local {
    std::map<int, std::string> words;
    std::unique_ptr<char[]> block{ new char[50000] };
    ~Local()
    {
        for (int i = 0; i < 50; i++)
            words[i * 7 % 50] += std::string(static_cast<std::size_t>(i * 11), 'x');
        work(1);
    }
};
thread_local Local local;

const int key_count = 8;
pthread_key_t keys[key_count];

struct Value {
    int key;
    int rounds_left; // libc calls the destructor again when the value was set again
    char *block;
};

void
destroy(void *arg)
{
    Value *value = static_cast<Value *>(arg);
    expect_filled(value->block, 1000);
    std::free(value->block);
    work(static_cast<unsigned>(value->rounds_left));
    if (value->rounds_left-- > 0) {
        value->block = static_cast<char *>(std::calloc(1, 1000));
        fill(value->block, 1000);
        EXPECT(pthread_setspecific(keys[value->key], value) == 0);
    } else {
        delete value;
    }
}

void
set_keys(int rounds)
{
    for (int i = 0; i < key_count; i++) {
        Value *value = new Value{ i, rounds, static_cast<char *>(std::malloc(1000)) };
        fill(value->block, 1000);
        EXPECT(pthread_setspecific(keys[i], value) == 0);
    }
}

struct Frame { // destroyed by the unwinding of pthread_exit and of cancellation
    std::string text = std::string(3000, 'f');
    ~Frame() { work(2); }
};

void
cleanup(void *arg)
{
    std::free(arg);
    work(0);
}

volatile int max_depth = 10;

void
end_in_depth(int depth)
{
    Frame frame;
    std::unique_ptr<char[]> block(new char[static_cast<std::size_t>(depth) * 1000 + 1]);
    if (depth == 0)
        pthread_exit(nullptr);
    if (depth <= max_depth) // always, which the compiler cannot know
        end_in_depth(depth - 1);
}

void *
end_by_return(void *)
{
    local.words[0] = "first use makes it";
    set_keys(2); // with the first call, three of libc's four
    work(3);
    return nullptr;
}

void *
end_by_exit(void *)
{
    set_keys(0);
    pthread_cleanup_push(cleanup, std::malloc(777));
    local.words[1] = "once more";
    end_in_depth(max_depth);
    pthread_cleanup_pop(0);
    return nullptr;
}

// Allocates without end; is cancelled where it says so.
void *
end_by_cancel(void *)
{
    Frame frame;
    local.words[2] = "and again";
    set_keys(1);
    pthread_cleanup_push(cleanup, std::malloc(888));
    for (unsigned i = 0;; i++) {
        void *block = std::malloc(i % 5000);
        void *large = i % 64 == 0 ? std::calloc(1, 200000) : nullptr;
        std::free(block);
        std::free(large);
        pthread_testcancel();
    }
    pthread_cleanup_pop(0);
    return nullptr;
}

// Never touches malloc until it is over.
void *
end_without_cache(void *value)
{
    EXPECT(pthread_setspecific(keys[0], value) == 0);
    return nullptr;
}

void
run(void *(*body)(void *), bool cancel)
{
    const int batch = 6;
    for (int round = 0; round < 20; round++) {
        pthread_t threads[batch];
        for (pthread_t &thread : threads) {
            void *arg = nullptr;
            if (body == end_without_cache) {
                Value *value = new Value{ 0, 3, static_cast<char *>(std::malloc(1000)) };
                fill(value->block, 1000);
                arg = value;
            }
            EXPECT(pthread_create(&thread, nullptr, body, arg) == 0);
        }
        work(static_cast<unsigned>(round));
        if (cancel) {
            usleep(2000);
            for (pthread_t thread : threads)
                EXPECT(pthread_cancel(thread) == 0);
        }
        for (pthread_t thread : threads) {
            void *result = nullptr;
            EXPECT(pthread_join(thread, &result) == 0);
            EXPECT((result == PTHREAD_CANCELED) == cancel);
        }
        take_left();
    }
}

void *
outlive_main(void *)
{
    usleep(20000);
    for (unsigned i = 0; i < 100; i++)
        work(i);
    take_left();
    std::printf("threads end by return, exit, cancel\n");
    std::exit(0);
}

} // namespace

int
main()
{
    for (pthread_key_t &key : keys)
        EXPECT(pthread_key_create(&key, destroy) == 0);
    run(end_by_return, false);
    run(end_by_exit, false);
    run(end_by_cancel, true);
    run(end_without_cache, false);

    // Main ends as a thread while another goes on, and that one ends the process.
    pthread_t last;
    EXPECT(pthread_create(&last, nullptr, outlive_main, nullptr) == 0);
    set_keys(2);
    local.words[3] = "in main";
    pthread_exit(nullptr);
}
