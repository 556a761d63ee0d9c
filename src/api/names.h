/* SPDX-License-Identifier: MIT */
/* names.h - exported functions that <stdlib.h> and <malloc.h> do not declare. */
#ifndef HM_API_NAMES_H
#define HM_API_NAMES_H

#include <malloc.h>
#include <stddef.h>

/* removed from glibc's headers, still in its library */
void cfree(void *ptr);

/* C23 */
void free_sized(void *ptr, size_t size);
void free_aligned_sized(void *ptr, size_t alignment, size_t size);

/* glibc's own names: libraries that bind to them must get the same heap
 * NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */
void *__libc_malloc(size_t size);
void __libc_free(void *ptr);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *ptr, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void *__libc_valloc(size_t size);
void *__libc_pvalloc(size_t size);
int __libc_mallopt(int param, int val);
struct mallinfo __libc_mallinfo(void);
int __posix_memalign(void **out_ptr, size_t alignment, size_t size);
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

#endif
