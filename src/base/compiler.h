/* SPDX-License-Identifier: MIT */
/* compiler.h - the few compiler extensions the project relies on, under one name each.
 *
 * Problem     Attributes differ in spelling, and a reader should not have to decode them in place.
 * Idea        One macro per intent. Relaxed atomics get two short names, because the hot paths read
 *             words that other threads may write and plain accesses would be data races.
 */
#ifndef HM_BASE_COMPILER_H
#define HM_BASE_COMPILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HM_LIKELY(cond) __builtin_expect(!!(cond), 1)
#define HM_UNLIKELY(cond) __builtin_expect(!!(cond), 0)
#define HM_NOINLINE __attribute__((noinline))
#define HM_INLINE static inline __attribute__((always_inline))
#define HM_COLD __attribute__((cold, noinline))
/* A function that short programs do not run: it lies apart (src/cold.ld). */
#define HM_LATER __attribute__((section(".text.later")))
#define HM_NORETURN __attribute__((noreturn))
#define HM_EXPORT __attribute__((visibility("default")))
/* On a declaration: the object is found without a look at the global offset table. What is defined
 * here is hidden anyway, but a file that only reads the declaration does not know. */
#define HM_HIDDEN __attribute__((visibility("hidden")))
#define HM_CACHE_LINE_BYTES 64

/* A function that reads what another thread may be changing, and can live with any value. */
#define HM_RACY __attribute__((no_sanitize("thread")))

/* Relaxed accesses to words that another thread may read or write at the same time. */
#define hm_load(ptr) __atomic_load_n((ptr), __ATOMIC_RELAXED)
#define hm_store(ptr, value) __atomic_store_n((ptr), (value), __ATOMIC_RELAXED)

/* Lower a count by one that only the calling thread writes and others read; returns whether it is 0
 * now. Who sees the new value with an acquire sees all that was written before. */
HM_INLINE bool
hm_count_down(uint32_t *count)
{
#if defined(__x86_64__) && !defined(HM_SANITIZE)
    bool is_zero;

    /* Stores are seen in their order here. gcc would load, subtract, store and test. */
    __asm__ volatile("subl $1, %0" : "+m"(*count), "=@cce"(is_zero) : : "memory");
    return is_zero;
#else
    uint32_t next = *count - 1;

    __atomic_store_n(count, next, __ATOMIC_RELEASE);
    return next == 0;
#endif
}

/* A word that no other living thread has, and never 0: the thread pointer. It can be compared with
 * in one instruction, where a thread-local variable of a shared library takes two loads. */
HM_INLINE uintptr_t
hm_thread_id(void)
{
#if defined(__x86_64__) && defined(__SEG_FS) && !defined(HM_SANITIZE)
    /* The ABI has it there, and gcc compares with it in place. (A sanitizer takes it for NULL.) */
    return *(const uintptr_t __seg_fs *)0;
#elif defined(__powerpc64__)
    uintptr_t id; /* gcc 12 has no builtin here */

    __asm__("mr %0, 13" : "=r"(id));
    return id;
#else
    return (uintptr_t)__builtin_thread_pointer();
#endif
}

/* The object of type `type` whose member `member` lies at `ptr`. */
#define hm_container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
