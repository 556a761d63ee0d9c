/* SPDX-License-Identifier: MIT */
/* scope.c - blocks that lie end to end, and are freed down to a mark.
 *
 * Problem     A program that works in phases allocates much and frees all of it at the end of each:
 *             what makes a single block free again is of no use to it.
 * Idea        A scope has chunks, each a block of the arena with a header, linked from the latest
 *             to the first. A mark is a place in one of them; to return there the later ones are
 *             freed. Of those freed the largest is kept, so that a phase that is repeated gets its
 *             memory without the arena. Chunks grow with the scope. A chunk for a large block has
 *             room for small ones behind it, so that large and small ones in turn do not waste a
 *             chunk each.
 * State       struct huma_scope, the caller's.
 * Sources     D. R. Hanson, "Fast allocation and deallocation of memory based on object lifetimes",
 *             Softw. Pract. Exper. 20 (1990).
 */
#include <errno.h>
#include <string.h>

#define HUMA_NO_INLINE
#include "api/arenas.h"
#include "api/said.h"
#include "base/check.h"
#include "base/fmt.h"

#define WISH_MIN_BYTES (16 * HM_KIB)
#define WISH_MAX_BYTES HM_MIB

struct chunk {
    struct chunk *prev;
    char *end;
};

_Static_assert(sizeof(struct chunk) == 16, "the first block of a chunk is aligned to 16");

static HM_COLD HM_NORETURN void
fail(const char *call, const void *addr, const char *why)
{
    char what[80];
    struct hm_fmt out = hm_fmt_init(what, sizeof(what), -1);

    hm_fmt_str(&out, call);
    hm_fmt_str(&out, ": no mark of this scope:");
    hm_fail(what, (uintptr_t)addr, why);
}

/* --- alloc ------------------------------------------------------------------------------------ */

static char *
begin_of(struct chunk *chunk)
{
    return (char *)(chunk + 1);
}

static void
push(struct huma_scope *scope, struct chunk *chunk)
{
    chunk->prev = scope->chunk;
    scope->chunk = chunk;
    scope->next = begin_of(chunk);
    scope->end = chunk->end;
}

/* A chunk with room for so many bytes, and if there is memory for it as much again as is wished
 * for; else the spare one is given up for it. NULL: no memory, and everything said. */
static struct chunk *
obtain(struct huma_scope *scope, size_t room_bytes, const char *call)
{
    struct huma_arena *arena = hm_arenas_find(scope->arena, call);
    struct hm_tcache *cache = hm_arenas_cache(arena);
    size_t need_bytes = sizeof(struct chunk) + room_bytes;
    struct chunk *chunk = hm_arena_alloc(&arena->core, cache, need_bytes + scope->wish_bytes, 16);

    if (chunk == NULL) {
        huma_arena_free(scope->arena, scope->spare);
        scope->spare = NULL;
        chunk = hm_arena_alloc(&arena->core, cache, need_bytes, 16);
    }
    if (chunk == NULL)
        return hm_said_no_memory(arena, call, need_bytes, 1);
    chunk->end = (char *)chunk + hm_align_down(huma_usable_size(chunk), 16);
    if (scope->wish_bytes < WISH_MAX_BYTES)
        scope->wish_bytes *= 2;
    return chunk;
}

/* In a new chunk, or the spare one. */
static void *
alloc_new(struct huma_scope *scope, size_t align_bytes, size_t size_bytes, const char *call)
{
    size_t room_bytes = size_bytes + align_bytes; /* both below half of SIZE_MAX */
    struct chunk *chunk = scope->spare;
    char *mem;

    if (chunk != NULL && (size_t)(chunk->end - begin_of(chunk)) >= room_bytes)
        scope->spare = NULL;
    else
        chunk = obtain(scope, room_bytes, call);
    if (chunk == NULL)
        return NULL;
    push(scope, chunk);
    mem = (char *)hm_align_up((uintptr_t)scope->next, align_bytes);
    scope->next = mem + hm_align_up(size_bytes, 16);
    return mem;
}

/* Whichever chunk has room. */
static void *
alloc(struct huma_scope *scope, size_t align_bytes, size_t size_bytes, const char *call)
{
    uintptr_t addr = hm_align_up((uintptr_t)scope->next, align_bytes);

    if (scope->arena == NULL) {
        hm_said(EINVAL, call, "the scope is not open; call huma_scope_begin first");
        return NULL;
    }
    if (size_bytes > PTRDIFF_MAX || align_bytes > PTRDIFF_MAX)
        return hm_said_no_memory(hm_arenas_find(scope->arena, call), call, SIZE_MAX, 1);
    if (size_bytes == 0)
        size_bytes = 1;
    if (addr > (uintptr_t)scope->end || size_bytes > (uintptr_t)scope->end - addr)
        return alloc_new(scope, align_bytes, size_bytes, call);
    scope->next = (char *)addr + hm_align_up(size_bytes, 16);
    return (void *)addr;
}

HM_EXPORT void *
huma_scope_alloc_slow(struct huma_scope *scope, size_t size)
{
    return alloc(scope, 16, size, "huma_scope_alloc()");
}

HM_EXPORT void *
huma_scope_aligned_alloc(struct huma_scope *scope, size_t alignment, size_t size)
{
    static const char call[] = "huma_scope_aligned_alloc()";

    if (!hm_is_pow2(alignment)) {
        hm_said(EINVAL, call, "the alignment is no power of two; pass 1, 2, 4, 8, and so on");
        return NULL;
    }
    return alloc(scope, alignment > 16 ? alignment : 16, size, call);
}

/* --- scopes and marks ------------------------------------------------------------------------- */

HM_EXPORT int
huma_scope_begin(struct huma_scope *scope, huma_arena *arena)
{
    static const char call[] = "huma_scope_begin()";

    if (scope == NULL) {
        hm_said(EINVAL, call, "the scope is NULL; pass the address of a struct huma_scope");
        return -1;
    }
    *scope = (struct huma_scope){ .arena = arena, .wish_bytes = WISH_MIN_BYTES };
    if (hm_said_find(arena, call) != NULL)
        return 0;
    scope->arena = NULL;
    return -1;
}

HM_EXPORT huma_mark
huma_scope_mark(const struct huma_scope *scope)
{
    return (huma_mark){ scope->chunk, scope->next };
}

/* Take off the latest chunk. The larger one stays as the spare, but not where the arena has a
 * limit: it may be what is lacking there. */
static void
pop(struct huma_scope *scope, const struct huma_arena *arena)
{
    struct chunk *chunk = scope->chunk;
    struct chunk *spare = scope->spare;

    scope->chunk = chunk->prev;
    if (hm_heap_is_limited(&arena->core.heap)
        || (spare != NULL && spare->end - (char *)spare >= chunk->end - (char *)chunk)) {
        huma_arena_free(scope->arena, chunk);
        return;
    }
    huma_arena_free(scope->arena, spare);
    scope->spare = chunk;
}

HM_EXPORT void
huma_scope_release(struct huma_scope *scope, huma_mark mark)
{
    static const char call[] = "huma_scope_release()";
    const struct huma_arena *arena = hm_arenas_find(scope->arena, call);
    char *end = scope->next;
    struct chunk *chunk;

    while (scope->chunk != mark.chunk) {
        if (scope->chunk == NULL)
            fail(call, mark.next, "its blocks were freed before; return to an earlier mark first");
        pop(scope, arena);
        end = NULL;
    }
    chunk = scope->chunk;
    scope->end = chunk != NULL ? chunk->end : NULL;
    if (end == NULL)
        end = scope->end;
    if (mark.next > end || (chunk != NULL && mark.next < begin_of(chunk)))
        fail(call, mark.next, "its blocks were freed before; pass what huma_scope_mark returned");
    scope->next = mark.next;
}

HM_EXPORT void
huma_scope_end(struct huma_scope *scope)
{
    if (scope->arena == NULL)
        return;
    huma_scope_release(scope, (huma_mark){ NULL, NULL });
    huma_arena_free(scope->arena, scope->spare);
    *scope = (struct huma_scope){ .arena = NULL };
}
