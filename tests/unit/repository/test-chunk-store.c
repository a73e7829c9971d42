/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Chunks over a storage that is no folder: written, found again, read after another opening, taken back.
 */
#include "chunk-store.h"
#include "memory-storage.h"
#include "suite.h"

#include <string.h>

#define CHUNK 65536u

static BkStorage *storage;
static BkCrypto *crypto;
static char *index_folder;

static void
start (void)
{
  storage = memory_storage_new ();
  crypto = bk_crypto_new (NULL);
  index_folder = bk_suite_folder ();
}

static BkChunkStore *
open_store (bool writable)
{
  g_autoptr (GError) error = NULL;
  BkChunkStore *store = bk_chunk_store_open (storage, index_folder, crypto, 1, writable, &error);
  bk_assert_no_error (error);
  return store;
}

static void
stop (BkChunkStore *store)
{
  bk_chunk_store_free (store);
  bk_crypto_free (crypto);
  bk_storage_free (storage);
}

static const uint8_t *
content (uint32_t n)
{
  static uint8_t data[CHUNK];
  for (uint32_t i = 0; i < CHUNK / 4; i++)
    memcpy (data + 4 * i, &(uint32_t){ i < 100 ? n : 0 }, 4);
  return data;
}

static BkChunkId
put (BkChunkWriter *writer, uint32_t n, bool is_new)
{
  g_autoptr (GError) error = NULL;
  BkChunkId id;
  uint32_t stored;
  ck_assert (bk_chunk_writer_put (writer, BK_CHUNK_DATA, content (n), CHUNK, &id, &stored, &error));
  ck_assert_msg ((stored > 0) == is_new, "chunk %u: %u bytes", n, stored);
  return id;
}

static void
assert_reads (BkChunkStore *store, const BkChunkId *id, uint32_t n)
{
  g_autoptr (GError) error = NULL;
  uint8_t out[CHUNK];
  ck_assert_msg (bk_chunk_store_get (store, NULL, BK_CHUNK_DATA, id, out, CHUNK, &error), "%s", error ? error->message : "");
  ck_assert (memcmp (out, content (n), CHUNK) == 0);
}

static void
flush (BkChunkWriter *writer)
{
  g_autoptr (GError) error = NULL;
  ck_assert (bk_chunk_writer_flush (writer, &error));
  bk_chunk_writer_free (writer);
}

START_TEST (chunks_are_found_again)
{
  start ();
  BkChunkStore *store = open_store (true);
  BkChunkWriter *writer = bk_chunk_writer_new (store);
  BkChunkId first = put (writer, 1, true), second = put (writer, 2, true);
  put (writer, 1, false);
  flush (writer);
  bk_chunk_store_free (store);
  for (unsigned writable = 0; writable < 2; writable++) {
    store = open_store (writable);
    assert_reads (store, &first, 1);
    assert_reads (store, &second, 2);
    bk_chunk_store_free (store);
  }
  stop (open_store (true));
}
END_TEST

START_TEST (what_is_not_marked_is_freed)
{
  g_autoptr (GError) error = NULL;
  BkChunkSweep swept = { 0 };
  uint32_t stored, length;
  start ();
  BkChunkStore *store = open_store (true);
  BkChunkWriter *writer = bk_chunk_writer_new (store);
  BkChunkId ids[8];
  for (uint32_t i = 0; i < 8; i++)
    ids[i] = put (writer, i, true);
  flush (writer);
  ck_assert (bk_chunk_store_begin_marks (store));
  ck_assert (bk_chunk_store_mark (store, &ids[5], &stored, &length));
  ck_assert (bk_chunk_store_sweep (store, NULL, &swept, &error));
  bk_chunk_store_end_marks (store);
  ck_assert_uint_eq (swept.rewritten, 1);
  g_autoptr (GPtrArray) packs = bk_storage_list (storage, "packs", &error);
  ck_assert_uint_eq (packs->len, 1);
  assert_reads (store, &ids[5], 5);
  ck_assert (!bk_chunk_store_has (store, &ids[4], &stored, &length));
  stop (store);
}
END_TEST

START_TEST (a_reader_goes_on_when_packs_are_rewritten)
{
  g_autoptr (GError) error = NULL;
  BkChunkSweep swept = { 0 };
  uint32_t stored, length;
  start ();
  BkChunkStore *store = open_store (true);
  BkChunkWriter *writer = bk_chunk_writer_new (store);
  BkChunkId ids[8];
  for (uint32_t i = 0; i < 8; i++)
    ids[i] = put (writer, i, true);
  flush (writer);
  BkChunkStore *reader = open_store (false);
  assert_reads (reader, &ids[5], 5);
  ck_assert (bk_chunk_store_begin_marks (store));
  ck_assert (bk_chunk_store_mark (store, &ids[5], &stored, &length));
  ck_assert (bk_chunk_store_sweep (store, NULL, &swept, &error));
  bk_chunk_store_end_marks (store);
  assert_reads (reader, &ids[5], 5);
  bk_chunk_store_free (reader);
  stop (store);
}
END_TEST

/* A pack that is taken away by others is not counted on: the content is stored again, and what was lost is whole. */
START_TEST (a_pack_that_vanishes_is_not_counted_on)
{
  g_autoptr (GError) error = NULL;
  uint8_t out[CHUNK];
  start ();
  BkChunkStore *store = open_store (true);
  BkChunkWriter *writer = bk_chunk_writer_new (store);
  BkChunkId id = put (writer, 1, true);
  flush (writer);
  g_autoptr (GPtrArray) packs = bk_storage_list (storage, "packs", &error);
  g_autofree char *name = g_strconcat ("packs/", ((const BkStorageItem *)packs->pdata[0])->name, NULL);
  ck_assert (bk_storage_remove (storage, name, &error));
  ck_assert (!bk_chunk_store_get (store, NULL, BK_CHUNK_DATA, &id, out, CHUNK, &error));
  bk_assert_error (error, BK_ERROR_CORRUPT);
  writer = bk_chunk_writer_new (store);
  put (writer, 1, true);
  flush (writer);
  assert_reads (store, &id, 1);
  stop (store);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { chunks_are_found_again, what_is_not_marked_is_freed, a_reader_goes_on_when_packs_are_rewritten,
                                 a_pack_that_vanishes_is_not_counted_on, NULL };
  return bk_suite_run ("chunk-store", tests);
}
