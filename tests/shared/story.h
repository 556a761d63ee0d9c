/* SPDX-License-Identifier: MIT */
/* story.h - everything that a process can do in a shared arena, once.
 *
 * Idea        Three processes: a bystander that is alive and has blocks, one that died in the
 *             middle of several things at once, and the one that the story is about.
 */
#ifndef HM_TESTS_SHARED_STORY_H
#define HM_TESTS_SHARED_STORY_H

/* What there is when the story begins. */
void story_prepare(void);

/* From before attach to after detach. Aborts if a call does not do what it should. */
void story_tell(void);

#endif
