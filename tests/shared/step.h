/* SPDX-License-Identifier: MIT */
/* step.h - a child that is looked at after each of its instructions.
 *
 * Problem     A process may be killed between any two instructions. What it leaves then is what
 *             shared memory holds at that moment.
 * Idea        The child runs under ptrace, one instruction at a time, and after each its parent
 *             looks at the memory. Nobody has to be killed for that.
 */
#ifndef HM_TESTS_SHARED_STEP_H
#define HM_TESTS_SHARED_STEP_H

#include <stdbool.h>

/* More than any story takes: where an atomic change is a pair of instructions that must not be
 * interrupted, it never succeeds under ptrace. */
#define STEP_MAX 2000000

/* Run work() in a child. look() is called before its first instruction, after each, and when it is
 * over. Returns the number of instructions. Ends the program with 77 if there is no such ptrace,
 * and with 1 if the child does not end well. */
long step_through(void (*work)(void), void (*look)(void));

/* Run so many instructions of work() in a child, then meanwhile() here, then the rest. Returns
 * false if there were fewer: all of work() came before meanwhile() then. */
bool step_apart(void (*work)(void), long step_count, void (*meanwhile)(void));

#endif
