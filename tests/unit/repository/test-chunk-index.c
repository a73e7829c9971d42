/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The index against a model that keeps all copies in plain memory, over files that are made, merged, opened again, damaged,
 * and that cannot be written.
 */
#include "chunk-index.h"
#include "bk-error.h"
#include "fsio.h"
#include "suite.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PACK_CHUNKS 20000u /* seven of these go to a file together */

static char *folder;
static GPtrArray *names; /* of packs */
static bool gone[256];

static const char *
name_of (uint32_t pack, gpointer user_data G_GNUC_UNUSED)
{
  return names->pdata[pack];
}

static uint32_t
number_of (const char *name, gpointer user_data G_GNUC_UNUSED)
{
  for (unsigned i = 0; i < names->len; i++)
    if (strcmp (names->pdata[i], name) == 0)
      return i;
  g_ptr_array_add (names, g_strdup (name));
  return names->len - 1;
}

static bool
is_usable (const BkIndexEntry *entry, gpointer user_data G_GNUC_UNUSED)
{
  return !gone[entry->pack];
}

static bool
is_gone (uint32_t pack, gpointer user_data G_GNUC_UNUSED)
{
  return gone[pack];
}

static BkChunkIndex *
open_index (bool writable)
{
  const BkIndexPacks packs = { name_of, number_of, is_usable, is_gone, NULL };
  return bk_chunk_index_open (folder, writable, &packs);
}

static void
start (void)
{
  static char *root;
  root = root ? root : bk_suite_folder ();
  g_free (folder);
  folder = g_strdup_printf ("%s/%u", root, g_random_int ());
  names = g_ptr_array_new_with_free_func (g_free);
  memset (gone, 0, sizeof gone);
}

/* The ID of chunk @n: as good as random (splitmix64, https://prng.di.unimi.it/splitmix64.c). */
static BkChunkId
id_of (unsigned n)
{
  BkChunkId id;
  uint64_t state = (uint64_t)n << 20;
  for (size_t i = 0; i < sizeof id; i += sizeof state) {
    uint64_t z = (state += UINT64_C (0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C (0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C (0x94d049bb133111eb);
    z ^= z >> 31;
    memcpy (id.id + i, &z, sizeof z);
  }
  return id;
}

static void
merge (BkChunkIndex *index)
{
  for (BkIndexMerge *merge; (merge = bk_chunk_index_begin_merge (index)) != NULL;) {
    bk_index_merge_run (merge);
    bk_chunk_index_end_merge (index, merge);
  }
}

/* A pack of the chunks from @first on; that at place i is at offset 8 + i. Returns its number. */
static uint32_t
put_pack (BkChunkIndex *index, unsigned first)
{
  g_autofree char *name = g_strdup_printf ("%05u.pack", names->len);
  uint32_t pack = number_of (name, NULL);
  for (unsigned i = 0; i < PACK_CHUNKS; i++) {
    BkChunkId id = id_of (first + i);
    bk_chunk_index_put (index, &id, pack, 8 + i, 100, 65536);
  }
  bk_chunk_index_settle (index);
  merge (index);
  return pack;
}

static unsigned
count_files (void)
{
  unsigned count = 0;
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  while (dir && g_dir_read_name (dir))
    count++;
  return count;
}

static void
assert_found (BkChunkIndex *index, unsigned n, uint32_t pack, uint64_t offset)
{
  BkIndexEntry entry = { 0 };
  BkChunkId id = id_of (n);
  ck_assert_msg (bk_chunk_index_find (index, &id, &entry), "chunk %u is not found", n);
  ck_assert_msg (entry.pack == pack && entry.offset == offset, "chunk %u: pack %u, offset %u", n, entry.pack, (unsigned)entry.offset);
  ck_assert_uint_eq (entry.stored, 100);
  ck_assert_uint_eq (entry.length, 65536);
}

static void
assert_missing (BkChunkIndex *index, unsigned n)
{
  BkIndexEntry entry;
  BkChunkId id = id_of (n);
  ck_assert_msg (!bk_chunk_index_find (index, &id, &entry), "chunk %u is found", n);
}

/* All chunks of packs 0 to @packs - 1, of which pack i has those from i * PACK_CHUNKS on. */
static void
assert_all (BkChunkIndex *index, unsigned packs)
{
  for (unsigned n = 0; n < packs * PACK_CHUNKS; n += 7)
    if (gone[n / PACK_CHUNKS])
      assert_missing (index, n);
    else
      assert_found (index, n, n / PACK_CHUNKS, 8 + n % PACK_CHUNKS);
  assert_missing (index, packs * PACK_CHUNKS);
}

START_TEST (much_is_kept_in_few_files)
{
  start ();
  BkChunkIndex *index = open_index (true);
  for (unsigned i = 0; i < 64; i++)
    put_pack (index, i * PACK_CHUNKS);
  ck_assert_uint_eq (bk_chunk_index_size (index), 64 * PACK_CHUNKS);
  ck_assert_uint_gt (count_files (), 0);
  ck_assert_uint_le (count_files (), 6);
  assert_all (index, 64);
  bk_chunk_index_free (index);
}
END_TEST

static void
note_pack (uint32_t pack, gpointer user_data)
{
  ((bool *)user_data)[pack] = true;
}

START_TEST (it_is_there_again_when_opened)
{
  bool there[256] = { false };
  start ();
  BkChunkIndex *index = open_index (true);
  for (unsigned i = 0; i < 10; i++)
    put_pack (index, i * PACK_CHUNKS);
  bk_chunk_index_free (index);
  for (unsigned writable = 0; writable < 2; writable++) {
    index = open_index (writable);
    bk_chunk_index_foreach_pack (index, note_pack, there);
    for (unsigned i = 0; i < 10; i++)
      ck_assert_msg (there[i], "pack %u", i);
    assert_all (index, 10);
    bk_chunk_index_free (index);
  }
}
END_TEST

/* As after a crash: only whole packs are said to be there. */
START_TEST (what_was_only_in_memory_is_not_promised)
{
  bool there[256] = { false };
  start ();
  BkChunkIndex *index = open_index (true);
  for (unsigned i = 0; i < 9; i++)
    put_pack (index, i * PACK_CHUNKS);
  BkChunkIndex *other = open_index (false);
  bk_chunk_index_foreach_pack (other, note_pack, there);
  for (unsigned i = 0; i < 9; i++)
    ck_assert_msg (there[i] == (i < 7), "pack %u", i);
  assert_all (other, 7);
  bk_chunk_index_free (other);
  bk_chunk_index_free (index);
}
END_TEST

START_TEST (another_copy_takes_over)
{
  start ();
  BkChunkIndex *index = open_index (true);
  for (unsigned i = 0; i < 8; i++)
    put_pack (index, i * PACK_CHUNKS);
  uint32_t second = put_pack (index, 3 * PACK_CHUNKS);
  assert_found (index, 3 * PACK_CHUNKS + 5, second, 13);
  gone[second] = true;
  assert_found (index, 3 * PACK_CHUNKS + 5, 3, 13);
  gone[3] = true;
  assert_missing (index, 3 * PACK_CHUNKS + 5);
  gone[second] = false;
  assert_found (index, 3 * PACK_CHUNKS + 5, second, 13);
  bk_chunk_index_free (index);
}
END_TEST

START_TEST (gone_packs_leave_the_files)
{
  start ();
  BkChunkIndex *index = open_index (true);
  for (unsigned i = 0; i < 28; i++)
    put_pack (index, i * PACK_CHUNKS);
  for (unsigned i = 0; i < 28; i++)
    gone[i] = i % 4 != 0;
  merge (index);
  ck_assert_uint_eq (bk_chunk_index_size (index), 7 * PACK_CHUNKS);
  assert_all (index, 28);
  bk_chunk_index_free (index);
}
END_TEST

START_TEST (marks_stay_when_memory_becomes_a_file)
{
  start ();
  BkChunkIndex *index = open_index (true);
  for (unsigned i = 0; i < 10; i++)
    put_pack (index, i * PACK_CHUNKS);
  bk_chunk_index_begin_marks (index);
  for (unsigned n = 0; n < 10 * PACK_CHUNKS; n += 3) {
    BkIndexEntry entry;
    BkChunkId id = id_of (n);
    bool was = true;
    ck_assert (bk_chunk_index_mark (index, &id, &entry, &was) && !was);
    ck_assert (bk_chunk_index_mark (index, &id, &entry, &was) && was);
  }
  for (unsigned i = 10; i < 40; i++)
    put_pack (index, i * PACK_CHUNKS);
  for (unsigned n = 0; n < 20 * PACK_CHUNKS; n++) {
    BkChunkId id = id_of (n);
    bool marked = bk_chunk_index_is_marked (index, &id, n / PACK_CHUNKS, 8 + n % PACK_CHUNKS);
    ck_assert_msg (marked == (n % 3 == 0 && n < 10 * PACK_CHUNKS), "chunk %u", n);
  }
  bk_chunk_index_end_marks (index);
  merge (index);
  bk_chunk_index_begin_marks (index);
  BkChunkId id = id_of (0);
  ck_assert (!bk_chunk_index_is_marked (index, &id, 0, 8));
  bk_chunk_index_free (index);
}
END_TEST

/* A merge that marks have overtaken is given up, and done later. */
START_TEST (marks_stay_when_a_merge_ends)
{
  start ();
  BkChunkIndex *index = open_index (true);
  for (unsigned i = 0; i < 28; i++)
    put_pack (index, i * PACK_CHUNKS);
  for (unsigned i = 0; i < 28; i++)
    gone[i] = i > 2;
  BkIndexMerge *merging = bk_chunk_index_begin_merge (index);
  ck_assert_ptr_nonnull (merging);
  ck_assert_ptr_null (bk_chunk_index_begin_merge (index));
  bk_chunk_index_begin_marks (index);
  BkIndexEntry entry;
  BkChunkId id = id_of (17);
  bool was = true;
  ck_assert (bk_chunk_index_mark (index, &id, &entry, &was) && !was);
  bk_index_merge_run (merging);
  bk_chunk_index_end_merge (index, merging);
  ck_assert (bk_chunk_index_is_marked (index, &id, 0, 8 + 17));
  bk_chunk_index_end_marks (index);
  merge (index);
  ck_assert_uint_eq (bk_chunk_index_size (index), 3 * PACK_CHUNKS);
  assert_all (index, 28);
  bk_chunk_index_free (index);
}
END_TEST

START_TEST (what_comes_while_files_are_merged_stays)
{
  start ();
  BkChunkIndex *index = open_index (true);
  for (unsigned i = 0; i < 27; i++)
    put_pack (index, i * PACK_CHUNKS);
  gone[0] = gone[1] = gone[2] = gone[3] = gone[4] = true;
  BkIndexMerge *merging = bk_chunk_index_begin_merge (index);
  ck_assert_ptr_nonnull (merging);
  for (unsigned i = 27; i < 40; i++)
    put_pack (index, i * PACK_CHUNKS);
  bk_index_merge_run (merging);
  bk_chunk_index_end_merge (index, merging);
  assert_all (index, 40);
  bk_chunk_index_free (index);
  index = open_index (true);
  assert_all (index, 40);
  bk_chunk_index_free (index);
}
END_TEST

START_TEST (a_reset_forgets_all_also_beside_a_merge)
{
  start ();
  BkChunkIndex *index = open_index (true);
  for (unsigned i = 0; i < 27; i++)
    put_pack (index, i * PACK_CHUNKS);
  gone[0] = gone[1] = gone[2] = gone[3] = gone[4] = true;
  BkIndexMerge *merging = bk_chunk_index_begin_merge (index);
  ck_assert_ptr_nonnull (merging);
  bk_chunk_index_reset (index);
  bk_index_merge_run (merging);
  bk_chunk_index_end_merge (index, merging);
  ck_assert_uint_eq (bk_chunk_index_size (index), 0);
  assert_missing (index, 6 * PACK_CHUNKS);
  ck_assert_uint_eq (count_files (), 0);
  bk_chunk_index_free (index);
}
END_TEST

/* Whatever file operation fails: what was put is found, now, and after the next opening what is promised. */
START_TEST (files_that_cannot_be_written_lose_nothing)
{
  bool failed = true;
  for (unsigned n = 1; failed; n++) {
    bool there[256] = { false };
    ck_assert_uint_lt (n, 200);
    start ();
    BkChunkIndex *index = open_index (true);
    bk_fsio_fail_at (n, ENOSPC);
    for (unsigned i = 0; i < 8; i++)
      put_pack (index, i * PACK_CHUNKS);
    failed = bk_fsio_count () >= n;
    bk_fsio_fail_at (0, 0);
    assert_found (index, 5, 0, 13);
    assert_found (index, 8 * PACK_CHUNKS - 1, 7, 8 + PACK_CHUNKS - 1);
    bk_chunk_index_free (index);
    index = open_index (true);
    bk_chunk_index_foreach_pack (index, note_pack, there);
    for (unsigned i = 0; i < 8; i++)
      ck_assert (there[i]);
    assert_found (index, 5, 0, 13);
    bk_chunk_index_free (index);
    g_ptr_array_unref (names);
  }
}
END_TEST

/* A process that only reads needs no right to write, and leaves nothing. */
START_TEST (a_reader_leaves_no_files)
{
  start ();
  BkChunkIndex *index = open_index (false);
  for (unsigned i = 0; i < 16; i++)
    put_pack (index, i * PACK_CHUNKS);
  assert_all (index, 16);
  ck_assert_uint_eq (count_files (), 0);
  bk_chunk_index_free (index);
  ck_assert_uint_eq (count_files (), 0);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { much_is_kept_in_few_files, it_is_there_again_when_opened, what_was_only_in_memory_is_not_promised,
                                 another_copy_takes_over, gone_packs_leave_the_files, marks_stay_when_memory_becomes_a_file,
                                 marks_stay_when_a_merge_ends, what_comes_while_files_are_merged_stays, a_reset_forgets_all_also_beside_a_merge,
                                 files_that_cannot_be_written_lose_nothing, a_reader_leaves_no_files, NULL };
  return bk_suite_run ("chunk-index", tests);
}
