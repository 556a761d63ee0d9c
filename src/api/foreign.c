/* SPDX-License-Identifier: MIT */
/* foreign.c - tells glibc's blocks from misuse (see foreign.h).
 *
 * Problem     Plugins loaded with RTLD_DEEPBIND, and libraries in namespaces of their own, call
 *             glibc's malloc past ours, and hand its blocks to a program that frees them by ours.
 *             To end that program would be wrong, and so would be to take a wild pointer to glibc.
 * Idea        Where a block lies decides, and its header must agree: on the brk heap; in the heap
 *             of an arena, which is aligned to 64 MiB and begins with a pointer to its arena; or in
 *             a mapping of its own. These go to glibc's free(). Other copies of libc (dlmopen)
 *             never use brk. Their arenas are in a ring of their own, which does not pass through
 *             our libc's variables, and their main arena lies in plain mappings: such blocks are
 *             nobody's that we could call, and stay where they are. A mapped chunk has no arena, so
 *             any libc may unmap it. All else, and whatever cannot be looked at, is misuse; except
 *             that a mapped chunk whose mapping cannot be looked up is left alone, since a process
 *             out of descriptors is no reason to end it.
 * State       struct hm_foreign in hm_process.
 * Locking     None held; heap->lock (rank 2) is taken to look for our own memory. The loader's
 *             locks are taken in hm_foreign_init only: in a later free(), the caller may hold locks
 *             that a constructor waits for, under the loader's.
 * Sources     glibc 2.36: malloc/malloc.c, malloc/arena.c, malloc/malloc-internal.h; Linux
 *             Documentation/filesystems/proc.rst.
 */
#include "api/foreign.h"

#include <dlfcn.h>
#include <gnu/lib-names.h>
#include <gnu/libc-version.h>
#include <link.h>
#include <pthread.h>
#include <string.h>
#include <sys/auxv.h>

#include "api/chunk.h"
#include "span/span.h"

/* Arena heaps have 64 MiB, or four huge pages where glibc.malloc.hugetlb says so. */
#define ARENA_SPAN_BYTES (64 * HM_MIB)
#define ARENA_SPAN_HPAGES ((size_t)4)

/* An arena's struct is not longer, and no process has more arenas. */
#define ARENA_STRUCT_BYTES ((size_t)2200)
#define ARENA_COUNT_MAX 65536

/* --- glibc's free() --------------------------------------------------------------------------- */

struct libc_search {
    uintptr_t probe; /* an address of libc's code */
    uintptr_t image; /* libc's memory, from its first segment to its last */
    uintptr_t image_end;
    uintptr_t data; /* the writable part of it */
    uintptr_t data_end;
    bool is_base;
};

static int
visit_library(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct libc_search *search = arg;
    struct libc_search found = { .image = UINTPTR_MAX, .data = UINTPTR_MAX };

    (void)size;
    /* The loader shows each namespace its own libraries only; the program is in one of them. */
    if ((uintptr_t)info->dlpi_phdr == getauxval(AT_PHDR))
        search->is_base = true;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + part->p_vaddr;
        uintptr_t end = start + part->p_memsz;

        if (part->p_type != PT_LOAD)
            continue;
        found.image = start < found.image ? start : found.image;
        found.image_end = end > found.image_end ? end : found.image_end;
        if ((part->p_flags & PF_W) == 0)
            continue;
        found.data = start < found.data ? start : found.data;
        found.data_end = end > found.data_end ? end : found.data_end;
    }
    if (search->probe < found.image || search->probe >= found.image_end)
        return 0;
    search->image = found.image;
    search->image_end = found.image_end;
    search->data = found.data;
    search->data_end = found.data_end;
    return 0;
}

/* The next free() behind ours is glibc's, unless another library replaces malloc too. */
static void *
find_free(const struct libc_search *libc)
{
    void *symbol = dlsym(RTLD_NEXT, "free");
    void *handle;

    if ((uintptr_t)symbol >= libc->image && (uintptr_t)symbol < libc->image_end)
        return symbol;
    handle = dlopen(LIBC_SO, RTLD_LAZY | RTLD_NOLOAD);
    symbol = handle != NULL ? dlsym(handle, "free") : NULL;
    if ((uintptr_t)symbol >= libc->image && (uintptr_t)symbol < libc->image_end)
        return symbol;
    return NULL;
}

void
hm_foreign_init(struct hm_foreign *foreign)
{
    struct libc_search libc = { .probe = (uintptr_t)&gnu_get_libc_version };
    void *symbol;

    (void)dl_iterate_phdr(visit_library, &libc);
    symbol = find_free(&libc);
    foreign->libc_data = libc.data;
    foreign->libc_data_end = libc.data_end;
    foreign->is_base = libc.is_base;
    hm_store(&foreign->brk_start, hm_os_brk_end());
    foreign->libc_free = (void (*)(void *))symbol;
    /* release: who sees it sees the rest; pairs with the acquire in hm_foreign_find */
    __atomic_store_n(&foreign->is_asked, true, __ATOMIC_RELEASE);
}

/* --- reading ---------------------------------------------------------------------------------- */

/* Words of one page, which may be another thread's to write. */
static bool
read_words(uintptr_t addr, size_t *out_words, size_t count)
{
    if (addr % sizeof(out_words[0]) != 0 || !hm_os_is_readable(addr))
        return false;
    for (size_t i = 0; i < count; i++)
        out_words[i] = hm_load((size_t *)addr + i);
    return true;
}

/* --- our own memory --------------------------------------------------------------------------- */

static bool
is_within(uintptr_t addr, uintptr_t start, size_t len_bytes)
{
    return addr - start < len_bytes;
}

/* Extents, metadata and the insides of mapped blocks: none of them is in the pagemap. */
static bool
is_ours(struct hm_heap *heap, uintptr_t addr)
{
    bool is_found = false;

    hm_lock_take(&heap->lock);
    for (struct hm_extent *extent = heap->extents; extent != NULL && !is_found;
         extent = extent->next)
        is_found = is_within(addr, extent->addr, extent->region_count << heap->geom.region_shift);
    for (struct hm_meta_chunk *chunk = heap->meta.chunks; chunk != NULL && !is_found;
         chunk = chunk->next)
        is_found = is_within(addr, chunk->addr, chunk->len_bytes);
    for (struct hm_list *link = heap->spans.next;
         heap->direct_count > 0 && link != &heap->spans && !is_found; link = link->next) {
        struct hm_span *span = hm_container_of(link, struct hm_span, all_link);

        is_found = span->kind == HM_SPAN_MAPPED && is_within(addr, span->base, span->slot_bytes);
    }
    hm_lock_give(&heap->lock);
    return is_found;
}

/* --- chunks on the brk heap ------------------------------------------------------------------- */

static bool
is_on_brk(struct hm_foreign *foreign, uintptr_t addr)
{
    if (!foreign->is_base || addr >= hm_os_brk_end())
        return false;
    /* Loaded late, we find a brk heap that has grown already. */
    if (addr < hm_load(&foreign->brk_start) && !hm_load(&foreign->is_brk_asked)) {
        uintptr_t brk_start = hm_os_brk_start();

        if (brk_start != 0)
            hm_store(&foreign->brk_start, brk_start);
        hm_store(&foreign->is_brk_asked, true);
    }
    return addr >= hm_load(&foreign->brk_start);
}

/* The next chunk's head is always whole: whoever has the block got it after that was written, and
 * splits and merges change it in one store. */
static bool
has_next_before(const struct hm_chunk *chunk, uintptr_t end)
{
    uintptr_t next = hm_chunk_next(chunk);
    size_t head;

    return next < end && end - next >= HM_CHUNK_HEADER_BYTES
           && read_words(next + sizeof(head), &head, 1) && hm_chunk_is_next(head);
}

/* --- chunks of arenas ------------------------------------------------------------------------- */

/* The start of an arena heap at `base`, if one is there: its arena's first heap must agree. */
static bool
read_arena_heap(uintptr_t base, size_t span_bytes, size_t page_bytes,
                struct hm_arena_heap *out_heap)
{
    struct hm_arena_heap heap;
    size_t words[3];
    size_t first_arena;

    if (!read_words(base, words, 3))
        return false;
    heap = (struct hm_arena_heap){ .arena = words[0], .prev = words[1], .len_bytes = words[2] };
    if (!hm_arena_heap_is_plausible(&heap, base, span_bytes, page_bytes)
        || !read_words(hm_align_down(heap.arena, span_bytes), &first_arena, 1)
        || first_arena != heap.arena)
        return false;
    *out_heap = heap;
    return true;
}

/* The arena after `arena` in its ring: the first word of its struct that points to the start of
 * another arena, or into libc's variables, where the main arena is. glibc's releases differ in
 * where that word is, but nothing before it points to such places. Returns 0 if there is none. */
static uintptr_t
next_arena(const struct hm_foreign *foreign, uintptr_t arena, size_t span_bytes, size_t page_bytes)
{
    struct hm_arena_heap heap;

    if (!hm_os_is_readable(arena) || !hm_os_is_readable(arena + ARENA_STRUCT_BYTES - 8))
        return 0;
    for (size_t i = 0; i < ARENA_STRUCT_BYTES / sizeof(size_t); i++) {
        size_t word = hm_load((size_t *)arena + i);

        if (word >= foreign->libc_data && word < foreign->libc_data_end)
            return word;
        if (word != arena && (word & (span_bytes - 1)) == (arena & (span_bytes - 1))
            && read_arena_heap(hm_align_down(word, span_bytes), span_bytes, page_bytes, &heap)
            && heap.arena == word)
            return word;
    }
    return 0;
}

/* Whether the ring that an arena is in passes through our libc. */
static bool
is_arena_of_libc(const struct hm_foreign *foreign, uintptr_t arena, size_t span_bytes,
                 size_t page_bytes)
{
    for (unsigned i = 0; i < ARENA_COUNT_MAX && arena != 0; i++) {
        if (arena >= foreign->libc_data && arena < foreign->libc_data_end)
            return true;
        arena = next_arena(foreign, arena, span_bytes, page_bytes);
    }
    return false;
}

static bool
find_in_arena(const struct hm_foreign *foreign, const struct hm_geom *geom,
              const struct hm_chunk *chunk, struct hm_foreign_block *block)
{
    size_t spans_bytes[] = { ARENA_SPAN_BYTES, ARENA_SPAN_HPAGES << geom->hpage_shift };
    size_t page_bytes = hm_page_bytes(geom);
    struct hm_arena_heap heap;
    bool is_found = false;

    for (unsigned i = 0; i < sizeof(spans_bytes) / sizeof(spans_bytes[0]); i++) {
        uintptr_t base = hm_align_down(chunk->addr, spans_bytes[i]);

        if (spans_bytes[i] <= page_bytes
            || !read_arena_heap(base, spans_bytes[i], page_bytes, &heap)
            || !has_next_before(chunk, base + heap.len_bytes))
            continue;
        is_found = true;
        block->is_leaked = !is_arena_of_libc(foreign, heap.arena, spans_bytes[i], page_bytes);
        if (!block->is_leaked)
            break;
    }
    return is_found;
}

/* --- chunks in mappings ----------------------------------------------------------------------- */

/* Between this function's frame and the thread's own data, which libc puts at the end of a stack.
 * The program's first stack is not so, but named by the kernel. */
static bool
is_on_stack(uintptr_t addr)
{
    uintptr_t top = (uintptr_t)pthread_self();
    uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
    bool is_stack = false;

    return addr >= frame && addr < top && hm_os_is_heap_like(frame, top, &is_stack) == 0
           && is_stack;
}

static bool
find_mapped(struct hm_heap *heap, const struct hm_chunk *chunk, struct hm_foreign_block *block)
{
    bool is_heap_like = false;
    int rc = hm_os_is_heap_like(hm_chunk_map_start(chunk), hm_chunk_map_end(chunk), &is_heap_like);

    block->is_leaked = rc != 0;
    return (is_heap_like || rc != 0) && !is_on_stack(chunk->addr) && !is_ours(heap, chunk->addr);
}

/* The main arena of another libc: off the brk heap, or on it where this library is in a namespace
 * of its own. Or of our libc, where brk found no room or was not to be used. */
static bool
find_elsewhere(struct hm_heap *heap, const struct hm_chunk *chunk, struct hm_foreign_block *block)
{
    uintptr_t next = hm_chunk_next(chunk);
    bool is_heap_like = false;
    size_t head;

    block->is_leaked = true;
    return read_words(next + sizeof(head), &head, 1) && hm_chunk_is_next(head)
           && hm_os_is_heap_like(chunk->addr - HM_CHUNK_HEADER_BYTES, next + hm_chunk_bytes(head),
                                 &is_heap_like)
                  == 0
           && is_heap_like && !is_on_stack(chunk->addr) && !is_ours(heap, chunk->addr);
}

/* --- the whole -------------------------------------------------------------------------------- */

HM_LATER bool
hm_foreign_find(struct hm_foreign *foreign, struct hm_heap *heap, uintptr_t addr,
                struct hm_foreign_block *out_block)
{
    struct hm_foreign_block block = { .addr = addr };
    struct hm_chunk chunk = { .addr = addr };
    enum hm_chunk_kind kind;
    size_t words[2];
    bool is_found;

    if (!__atomic_load_n(&foreign->is_asked, __ATOMIC_ACQUIRE))
        hm_foreign_init(foreign); /* before our constructor */
    if (foreign->libc_free == NULL || addr % HM_CHUNK_HEADER_BYTES != 0
        || !read_words(addr - HM_CHUNK_HEADER_BYTES, words, 2))
        return false;
    chunk.prev_bytes = words[0];
    chunk.head = words[1];
    kind = hm_chunk_kind(&chunk, hm_page_bytes(&heap->geom));
    if (kind == HM_CHUNK_NONE)
        return false;
    if (kind == HM_CHUNK_MAPPED)
        is_found = find_mapped(heap, &chunk, &block);
    else if (kind == HM_CHUNK_ARENA)
        is_found = find_in_arena(foreign, &heap->geom, &chunk, &block);
    else if (is_on_brk(foreign, addr))
        is_found = has_next_before(&chunk, hm_os_brk_end());
    else
        is_found = find_elsewhere(heap, &chunk, &block);
    if (!is_found)
        return false;
    block.room_bytes = hm_chunk_room_bytes(&chunk, kind);
    *out_block = block;
    return true;
}

void
hm_foreign_release(struct hm_foreign *foreign, const struct hm_foreign_block *block)
{
    if (block->is_leaked)
        (void)__atomic_fetch_add(&foreign->leak_count, 1, __ATOMIC_RELAXED);
    else
        foreign->libc_free((void *)block->addr);
}
