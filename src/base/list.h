/* SPDX-License-Identifier: MIT */
/* list.h - an intrusive, circular, doubly linked list.
 *
 * Problem     Spans and regions move between lists on every state change, and no list may allocate.
 * Idea        The node lies in the object; the head is a node too, so that nothing is a special
 *             case.
 * Locking     The owner of the list's.
 */
#ifndef HM_BASE_LIST_H
#define HM_BASE_LIST_H

#include "base/compiler.h"

struct hm_list {
    struct hm_list *next; /* first element in a head; the node itself when unlinked */
    struct hm_list *prev; /* last element in a head */
};

HM_INLINE void
hm_list_init(struct hm_list *node)
{
    node->next = node;
    node->prev = node;
}

HM_INLINE bool
hm_list_is_empty(const struct hm_list *head)
{
    return head->next == head;
}

HM_INLINE void
hm_list_add_after(struct hm_list *where, struct hm_list *node)
{
    node->next = where->next;
    node->prev = where;
    where->next->prev = node;
    where->next = node;
}

HM_INLINE void
hm_list_add_first(struct hm_list *head, struct hm_list *node)
{
    hm_list_add_after(head, node);
}

HM_INLINE void
hm_list_add_last(struct hm_list *head, struct hm_list *node)
{
    hm_list_add_after(head->prev, node);
}

/* For a node that goes into another list at once: it does not know that it is unlinked. */
HM_INLINE void
hm_list_unlink(struct hm_list *node)
{
    struct hm_list *next = node->next;
    struct hm_list *prev = node->prev;

    prev->next = next;
    next->prev = prev;
}

/* Leaves the node unlinked, so that a second call does no harm. */
HM_INLINE void
hm_list_del(struct hm_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    hm_list_init(node);
}

#endif
