/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "index-run.h"
#include "suite.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static BkIndexEntry
entry_of (uint64_t first, uint64_t second, uint32_t pack)
{
  return (BkIndexEntry){ .key = { first, second }, .offset = (UINT64_C (1) << 33) + first % 1000, .stored = 4194000, .length = 4194304, .pack = pack };
}

static int
memory_file (const void *data, size_t size)
{
  int fd = memfd_create ("run", MFD_CLOEXEC);
  ck_assert_int_ge (fd, 0);
  ck_assert_int_eq (write (fd, data, size), (ssize_t)size);
  return fd;
}

/* Rows with keys 10, 20, ... of two packs in turn; each third has a second copy. Returns the file. */
static int
write_run (unsigned keys)
{
  g_autoptr (GError) error = NULL;
  int fd = memory_file ("", 0);
  g_autoptr (BkIndexRunWriter) writer = bk_index_run_writer_new (fd, "run");
  uint32_t packs[2] = { bk_index_run_writer_add_pack (writer, "A.pack"), bk_index_run_writer_add_pack (writer, "B.pack") };
  ck_assert_uint_eq (bk_index_run_writer_add_pack (writer, "A.pack"), packs[0]);
  for (unsigned i = 1; i <= keys; i++)
    for (unsigned copy = 0; copy < (i % 3 ? 1u : 2u); copy++) {
      BkIndexEntry entry = entry_of (i * 10, i, packs[(i + copy) % 2]);
      ck_assert (bk_index_run_writer_append (writer, &entry, &error));
    }
  ck_assert (bk_index_run_writer_finish (writer, &error));
  bk_assert_no_error (error);
  return fd;
}

static BkIndexRun *
open_run (int fd)
{
  g_autoptr (GError) error = NULL;
  BkIndexRun *run = bk_index_run_open (fd, "run", &error);
  bk_assert_no_error (error);
  for (unsigned i = 0; i < bk_index_run_packs (run); i++)
    bk_index_run_set_pack (run, i, 70 + i);
  return run;
}

static void
assert_finds (BkIndexRun *run, unsigned i)
{
  g_autoptr (GError) error = NULL;
  const uint64_t key[2] = { i * 10, i };
  for (unsigned copy = 0; copy < (i % 3 ? 1u : 2u); copy++) {
    BkIndexEntry entry, wanted = entry_of (i * 10, i, 70 + (i + copy) % 2);
    uint64_t row;
    ck_assert (bk_index_run_seek (run, key, &row, &error));
    ck_assert (bk_index_run_read (run, row + copy, &entry, &error));
    ck_assert_msg (entry.key[0] == key[0] && entry.key[1] == key[1], "key %u, copy %u", i, copy);
    ck_assert (entry.pack == wanted.pack && entry.offset == wanted.offset && entry.stored == wanted.stored && entry.length == wanted.length);
  }
}

/* Sizes on both sides of full blocks of 127 rows. */
START_TEST (all_rows_are_found)
{
  static const unsigned sizes[] = { 0, 1, 2, 94, 95, 96, 190, 191, 1000, 20000 };
  for (size_t s = 0; s < G_N_ELEMENTS (sizes); s++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (BkIndexRun) run = open_run (write_run (sizes[s]));
    uint64_t row = 0;
    ck_assert_uint_eq (bk_index_run_rows (run), sizes[s] + sizes[s] / 3);
    for (unsigned i = 1; i <= sizes[s]; i++)
      assert_finds (run, i);
    ck_assert (bk_index_run_seek (run, (const uint64_t[]){ UINT64_MAX, 0 }, &row, &error));
    ck_assert_uint_eq (row, bk_index_run_rows (run));
    ck_assert (bk_index_run_seek (run, (const uint64_t[]){ 0, 0 }, &row, &error));
    ck_assert_uint_eq (row, 0);
  }
}
END_TEST

START_TEST (what_is_not_there_is_not_found)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkIndexRun) run = open_run (write_run (1000));
  for (uint64_t i = 1; i < 1000; i++) {
    BkIndexEntry entry;
    uint64_t row;
    ck_assert (bk_index_run_seek (run, (const uint64_t[]){ i * 10 + 5, 0 }, &row, &error));
    ck_assert (bk_index_run_read (run, row, &entry, &error));
    ck_assert_uint_eq (entry.key[0], (i + 1) * 10);
  }
}
END_TEST

START_TEST (packs_are_counted)
{
  g_autoptr (BkIndexRun) run = open_run (write_run (6)); /* 1 B, 2 A, 3 B A, 4 A, 5 B, 6 A B */
  ck_assert_uint_eq (bk_index_run_packs (run), 2);
  ck_assert_str_eq (bk_index_run_pack_name (run, 0), "A.pack");
  ck_assert_str_eq (bk_index_run_pack_name (run, 1), "B.pack");
  ck_assert_uint_eq (bk_index_run_pack_rows (run, 0), 4);
  ck_assert_uint_eq (bk_index_run_pack_rows (run, 1), 4);
}
END_TEST

START_TEST (a_cursor_gives_all_in_order)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkIndexRun) run = open_run (write_run (20000));
  BkIndexCursor *cursor = bk_index_cursor_new (run);
  const BkIndexEntry *entry = NULL;
  uint64_t count = 0, last = 0;
  while (bk_index_cursor_next (cursor, &entry, &error) && entry) {
    ck_assert_uint_ge (entry->key[0], last);
    ck_assert_uint_lt (entry->pack, 2);
    last = entry->key[0];
    count++;
  }
  bk_assert_no_error (error);
  ck_assert_uint_eq (count, bk_index_run_rows (run));
  bk_index_cursor_free (cursor);
}
END_TEST

START_TEST (marks_are_one_a_row)
{
  g_autoptr (BkIndexRun) run = open_run (write_run (1000));
  ck_assert (!bk_index_run_get_mark (run, 3));
  bk_index_run_begin_marks (run);
  bk_index_run_set_mark (run, 3);
  ck_assert (bk_index_run_get_mark (run, 3));
  ck_assert (!bk_index_run_get_mark (run, 2) && !bk_index_run_get_mark (run, 4));
  bk_index_run_end_marks (run);
  ck_assert (!bk_index_run_get_mark (run, 3));
}
END_TEST

/* TRUE: each row was found just as it was written, or not at all for damage that was told. */
static void
check_damaged (const uint8_t *data, size_t size, unsigned keys, const char *what, size_t where)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkIndexRun) run = bk_index_run_open (memory_file (data, size), "run", &error);
  unsigned told = run == NULL;
  for (unsigned i = 1; run && i <= keys; i++) {
    const uint64_t key[2] = { i * 10, i };
    uint64_t row;
    BkIndexEntry entry;
    g_clear_error (&error);
    if (!bk_index_run_seek (run, key, &row, &error) || (row < bk_index_run_rows (run) && !bk_index_run_read (run, row, &entry, &error)))
      told++;
    else
      ck_assert_msg (row < bk_index_run_rows (run) && entry.key[0] == i * 10 && entry.stored == 4194000, "%s at %zu: key %u is wrong", what, where, i);
  }
  ck_assert_msg (told > 0, "%s at %zu was not told", what, where);
  if (error)
    ck_assert_int_eq (error->code, BK_ERROR_CORRUPT);
}

START_TEST (every_flip_is_found)
{
  int fd = write_run (300);
  size_t size = (size_t)lseek (fd, 0, SEEK_END);
  g_autofree uint8_t *data = g_malloc (size);
  ck_assert_int_eq (pread (fd, data, size, 0), (ssize_t)size);
  close (fd);
  for (size_t i = 0; i < size; i += i < size - 400 ? 61 : 1) {
    data[i] ^= 0x10;
    check_damaged (data, size, 300, "a flip", i);
    data[i] ^= 0x10;
  }
  for (size_t left = 0; left < size; left += 127)
    check_damaged (data, left, 300, "a cut", left);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { all_rows_are_found, what_is_not_there_is_not_found, packs_are_counted, a_cursor_gives_all_in_order,
                                 marks_are_one_a_row, every_flip_is_found, NULL };
  return bk_suite_run ("index-run", tests);
}
