/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "index-table.h"
#include "suite.h"

static BkIndexEntry
entry_of (uint64_t first, uint64_t second, uint32_t pack)
{
  return (BkIndexEntry){ .key = { first, second }, .offset = 8, .stored = 100, .length = 65536, .pack = pack };
}

static void
put (BkIndexTable *table, uint64_t first, uint64_t second, uint32_t pack)
{
  BkIndexEntry entry = entry_of (first, second, pack);
  bk_index_table_put (table, &entry);
}

/* The packs of all copies, in order: "1 2 3". */
static void
assert_copies (BkIndexTable *table, uint64_t first, uint64_t second, const char *wanted)
{
  const uint64_t key[2] = { first, second };
  g_autoptr (GString) found = g_string_new (NULL);
  for (BkIndexEntry *entry = NULL; (entry = bk_index_table_next (table, key, entry)) != NULL;)
    g_string_append_printf (found, "%s%u", found->len ? " " : "", entry->pack);
  ck_assert_str_eq (found->str, wanted);
}

START_TEST (copies_keep_their_order)
{
  g_autoptr (BkIndexTable) table = bk_index_table_new ();
  put (table, 5, 1, 1);
  put (table, 5, 2, 2);
  put (table, 5, 1, 3);
  put (table, 5, 1, 4);
  assert_copies (table, 5, 1, "1 3 4");
  assert_copies (table, 5, 2, "2");
  assert_copies (table, 5, 3, "");
  ck_assert_uint_eq (bk_index_table_size (table), 4);
}
END_TEST

/* Keys whose place is at the end of the table, so that they go round; and a growth that must not mix them up. */
START_TEST (copies_keep_their_order_round_the_end)
{
  g_autoptr (BkIndexTable) table = bk_index_table_new ();
  for (uint32_t i = 0; i < 50; i++)
    put (table, UINT64_MAX, i % 5, i);
  assert_copies (table, UINT64_MAX, 3, "3 8 13 18 23 28 33 38 43 48");
  for (uint32_t i = 0; i < 5000; i++)
    put (table, i, 7, i);
  assert_copies (table, UINT64_MAX, 3, "3 8 13 18 23 28 33 38 43 48");
  ck_assert_uint_eq (bk_index_table_size (table), 5050);
}
END_TEST

START_TEST (all_come_sorted)
{
  g_autoptr (BkIndexTable) table = bk_index_table_new ();
  g_autoptr (GRand) rand = g_rand_new_with_seed (1);
  for (uint32_t i = 0; i < 3000; i++)
    put (table, g_rand_int_range (rand, 0, 500), g_rand_int_range (rand, 0, 2), i);
  g_autoptr (GArray) entries = bk_index_table_sort (table);
  ck_assert_uint_eq (entries->len, 3000);
  for (unsigned i = 1; i < entries->len; i++) {
    const BkIndexEntry *last = &g_array_index (entries, BkIndexEntry, i - 1), *entry = &g_array_index (entries, BkIndexEntry, i);
    int order = bk_index_entry_compare (last, entry);
    ck_assert (order < 0 || (order == 0 && last->pack < entry->pack));
  }
  bk_index_table_clear (table);
  ck_assert_uint_eq (bk_index_table_size (table), 0);
  assert_copies (table, g_array_index (entries, BkIndexEntry, 0).key[0], g_array_index (entries, BkIndexEntry, 0).key[1], "");
}
END_TEST

START_TEST (marks_can_be_cleared)
{
  g_autoptr (BkIndexTable) table = bk_index_table_new ();
  const uint64_t key[2] = { 1, 1 };
  put (table, 1, 1, 1);
  bk_index_table_next (table, key, NULL)->mark = 1;
  bk_index_table_clear_marks (table);
  ck_assert_uint_eq (bk_index_table_next (table, key, NULL)->mark, 0);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { copies_keep_their_order, copies_keep_their_order_round_the_end, all_come_sorted, marks_can_be_cleared, NULL };
  return bk_suite_run ("index-table", tests);
}
