/* SPDX-License-Identifier: MIT */
/* seeded.c - a bug on purpose, chosen by HM_SEEDED_BUG; without it, a program in order.
 *
 * Problem     A lane that cannot turn red proves nothing.
 * Idea        Each lane first compiles this file with a bug of the kind that its tool is for, and
 *             fails if the tool stays silent; and without a bug, where the tool must not speak.
 */
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define BUG_NONE 0
#define BUG_OVERFLOW 1 /* a write behind the end of a block */
#define BUG_SIGNED 2   /* a sum of int that does not fit */
#define BUG_LEAK 3     /* the only pointer to a block is lost */
#define BUG_RACE 4     /* two threads write to one word */
#define BUG_UNSET 5    /* a decision by a word that nobody set */

#ifndef HM_SEEDED_BUG
#define HM_SEEDED_BUG BUG_NONE
#endif

static volatile int bug = HM_SEEDED_BUG;
static int counter;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void *
run_counter(void *arg)
{
    (void)arg;
    for (int i = 0; i < 1000; i++) {
        if (bug != BUG_RACE)
            (void)pthread_mutex_lock(&mutex);
        counter++;
        if (bug != BUG_RACE)
            (void)pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void
use_threads(void)
{
    pthread_t threads[2];

    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, run_counter, NULL) != 0)
            exit(99);
    for (int i = 0; i < 2; i++)
        (void)pthread_join(threads[i], NULL);
}

static void
use_memory(void)
{
    volatile char *mem = malloc(24);
    volatile int *word = malloc(sizeof(*word));
    volatile int sum = INT_MAX - 1;

    if (mem == NULL || word == NULL)
        exit(99);
    mem[bug == BUG_OVERFLOW ? 24 : 23] = 1;
    sum = sum + (bug == BUG_SIGNED ? 2 : 1);
    if (bug != BUG_UNSET)
        *word = 1;
    if (*word == 12345)
        puts("never");
    free((void *)word);
    if (bug != BUG_LEAK)
        free((void *)mem);
    mem = NULL;
}

int
main(void)
{
    use_threads();
    use_memory();
    return 0;
}
