/* SPDX-License-Identifier: MIT */
/* test_list.c - the intrusive list. */
#include <criterion/criterion.h>

#include "base/list.h"

struct item {
    int number;
    struct hm_list link;
};

/* Compare the list with `count` numbers, forwards and backwards. */
static void
expect(struct hm_list *head, const int *numbers, int count)
{
    struct hm_list *link = head;

    for (int i = 0; i < count; i++) {
        link = link->next;
        cr_assert_neq(link, head, "only %d of %d", i, count);
        cr_assert_eq(hm_container_of(link, struct item, link)->number, numbers[i]);
    }
    cr_assert_eq(link->next, head);
    for (int i = count; i > 0; i--) {
        cr_assert_eq(hm_container_of(link, struct item, link)->number, numbers[i - 1]);
        link = link->prev;
    }
    cr_assert_eq(link, head);
}

Test(list, adds_on_both_ends_and_in_the_middle)
{
    struct item items[4] = { { .number = 0 }, { .number = 1 }, { .number = 2 }, { .number = 3 } };
    struct hm_list head;

    hm_list_init(&head);
    cr_assert(hm_list_is_empty(&head));
    hm_list_add_first(&head, &items[1].link);
    hm_list_add_last(&head, &items[3].link);
    hm_list_add_first(&head, &items[0].link);
    hm_list_add_after(&items[1].link, &items[2].link);
    cr_assert(!hm_list_is_empty(&head));
    expect(&head, (int[]){ 0, 1, 2, 3 }, 4);
}

Test(list, moves_from_one_list_to_another)
{
    struct item items[3] = { { .number = 0 }, { .number = 1 }, { .number = 2 } };
    struct hm_list from;
    struct hm_list to;

    hm_list_init(&from);
    hm_list_init(&to);
    for (int i = 0; i < 3; i++)
        hm_list_add_last(&from, &items[i].link);
    hm_list_unlink(&items[1].link);
    hm_list_add_last(&to, &items[1].link);
    hm_list_unlink(&items[0].link);
    hm_list_add_first(&to, &items[0].link);
    expect(&from, (int[]){ 2 }, 1);
    expect(&to, (int[]){ 0, 1 }, 2);
    hm_list_unlink(&items[2].link);
    cr_assert(hm_list_is_empty(&from));
}

Test(list, deletes_anywhere_and_twice)
{
    struct item items[3] = { { .number = 0 }, { .number = 1 }, { .number = 2 } };
    struct hm_list head;

    hm_list_init(&head);
    for (int i = 0; i < 3; i++)
        hm_list_add_last(&head, &items[i].link);
    hm_list_del(&items[1].link);
    hm_list_del(&items[1].link);
    expect(&head, (int[]){ 0, 2 }, 2);
    cr_assert(hm_list_is_empty(&items[1].link), "an unlinked node points to itself");
    hm_list_del(&items[0].link);
    hm_list_del(&items[2].link);
    cr_assert(hm_list_is_empty(&head));
}
