/* SPDX-License-Identifier: MIT */
/* mapped.c - the book of mappings that large blocks have to themselves (see mapped.h).
 *
 * Problem     A fork splits their huge pages as it does those of regions, but what is known of a
 *             mapping lies with its block, a layer above.
 * Idea        A list of notes; whoever has a mapping knows its note. A pass goes through a mapping
 *             one huge page at a time; one of which no page had to wait is done with until the next
 *             fork.
 * State       heap->mapped.
 * Locking     heap->lock is held by the caller.
 */
#include "heap/mapped.h"

struct hm_mapped *
hm_mapped_add(struct hm_heap *heap, uintptr_t addr, size_t len_bytes)
{
    struct hm_mapped_list *list = &heap->mapped;
    struct hm_mapped *note = list->idle;

    if (note != NULL)
        list->idle = note->next;
    else
        note = hm_meta_alloc(&heap->meta, sizeof(*note), sizeof(void *));
    if (note == NULL)
        return NULL;
    *note = (struct hm_mapped){
        .next = list->first,
        .addr = addr,
        .len_bytes = len_bytes,
        .fork_gen = heap->heal.fork_gen,
    };
    if (list->first != NULL)
        list->first->prev = note;
    list->first = note;
    return note;
}

void
hm_mapped_remove(struct hm_heap *heap, struct hm_mapped *note)
{
    if (heap->mapped.at == note)
        hm_mapped_rewind(heap);
    if (note->next != NULL)
        note->next->prev = note->prev;
    if (note->prev != NULL)
        note->prev->next = note->next;
    else
        heap->mapped.first = note->next;
    note->next = heap->mapped.idle;
    heap->mapped.idle = note;
}

void
hm_mapped_doubt(struct hm_heap *heap, struct hm_mapped *note)
{
    note->fork_gen = heap->heal.fork_gen - 1;
}

void
hm_mapped_rewind(struct hm_heap *heap)
{
    heap->mapped.at = NULL;
    heap->mapped.at_bytes = 0;
    heap->mapped.has_waiting = false;
}

void
hm_mapped_wait(struct hm_heap *heap)
{
    heap->mapped.has_waiting = true;
}

/* The next region of a mapping that was not looked at since the last fork; 0 behind the last. */
static uintptr_t
next_region(struct hm_heap *heap, struct hm_mapped *note)
{
    struct hm_mapped_list *list = &heap->mapped;
    size_t region_bytes = hm_region_bytes(&heap->geom);
    uint32_t fork_gen = hm_load(&heap->heal.fork_gen);

    if (note->fork_gen == fork_gen)
        return 0;
    if (list->at_bytes + region_bytes <= note->len_bytes) {
        list->at_bytes += region_bytes;
        return note->addr + list->at_bytes - region_bytes;
    }
    if (!list->has_waiting)
        note->fork_gen = fork_gen;
    return 0;
}

uintptr_t
hm_mapped_next(struct hm_heap *heap)
{
    struct hm_mapped_list *list = &heap->mapped;

    struct hm_mapped *note = list->at != NULL ? list->at : list->first;

    /* A handler may fork here, and rewind. */
    for (; note != NULL; note = note->next) {
        uintptr_t addr;

        list->at = note;
        addr = next_region(heap, note);
        if (addr != 0)
            return addr;
        list->at_bytes = 0;
        list->has_waiting = false;
    }
    list->at = NULL;
    return 0;
}
