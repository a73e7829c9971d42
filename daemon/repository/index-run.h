/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * An old part of the index: a file of entries in the order of their keys, never changed. It is a cache of the tables of
 * packs: who finds it damaged makes it anew from them. Numbers are little-endian.
 *
 *   blocks of 4096 bytes   127 rows of 32 (two u64 of key; u64 offset | size of the record << 34; u32 pack; u32 length of the
 *                          content), the last block filled up with zeroes; SHA-256 of the rows
 *   fences                 u64 a block: the first number of its first key
 *   packs                  40 bytes each: the pack's name, filled up with zeroes to 32; u32 rows of it, u32 zero
 *   tail, 64 bytes         "BKDINDX1", u64 rows, u64 packs, 8 zero bytes, SHA-256 of fences, packs, and the tail before it
 *
 * In memory are 8 bytes for each block, and 44 for each pack. A block is verified when it is read the first time. What leads to
 * a place in a file that is not there, or to another chunk, is found by whoever reads the chunk.
 *
 * No locks: its owner has them; but a cursor may be used beside all other calls, by whoever has a reference.
 */
#pragma once

#include "index-entry.h"

typedef struct BkIndexRun BkIndexRun;

/* Takes @fd over. CORRUPT: it is no such file, or its fences or packs are damaged. */
BkIndexRun *bk_index_run_open (int fd, const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;
BkIndexRun *bk_index_run_ref (BkIndexRun *run);
void bk_index_run_unref (BkIndexRun *run);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkIndexRun, bk_index_run_unref)

const char *bk_index_run_path (BkIndexRun *run);
uint64_t bk_index_run_rows (BkIndexRun *run);

/* The packs that it leads to, from 0; it holds all entries of each. */
unsigned bk_index_run_packs (BkIndexRun *run);
const char *bk_index_run_pack_name (BkIndexRun *run, unsigned pack);
uint32_t bk_index_run_pack_rows (BkIndexRun *run, unsigned pack);
/* What the entries of that pack are to say from here on; 0 before. */
void bk_index_run_set_pack (BkIndexRun *run, unsigned pack, uint32_t number);
uint32_t bk_index_run_get_pack (BkIndexRun *run, unsigned pack);

/* --- finding --- */

/* The first row of @key or, where there is none, that behind; rows() = behind the last. CORRUPT, FAILED. */
gboolean bk_index_run_seek (BkIndexRun *run, const uint64_t key[2], uint64_t *row, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* @row: less than rows(). */
gboolean bk_index_run_read (BkIndexRun *run, uint64_t row, BkIndexEntry *entry, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* One mark a row, while there are any: 1 bit of memory each. All clear at first. */
void bk_index_run_begin_marks (BkIndexRun *run);
void bk_index_run_end_marks (BkIndexRun *run);
bool bk_index_run_get_mark (BkIndexRun *run, uint64_t row);
void bk_index_run_set_mark (BkIndexRun *run, uint64_t row);

/* --- all of them, in order --- */

typedef struct BkIndexCursor BkIndexCursor;
/* Any thread; @run must outlive it. */
BkIndexCursor *bk_index_cursor_new (BkIndexRun *run);
void bk_index_cursor_free (BkIndexCursor *cursor);
/* *@entry: (transfer none), until the next call; NULL behind the last. entry->pack counts the run's own packs. */
gboolean bk_index_cursor_next (BkIndexCursor *cursor, const BkIndexEntry **entry, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- making one --- */

typedef struct BkIndexRunWriter BkIndexRunWriter;

/* Writes to @fd, which stays the caller's. */
BkIndexRunWriter *bk_index_run_writer_new (int fd, const char *path);
void bk_index_run_writer_free (BkIndexRunWriter *writer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkIndexRunWriter, bk_index_run_writer_free)
/* The number by which entries name this pack. The same name gives the same number. */
uint32_t bk_index_run_writer_add_pack (BkIndexRunWriter *writer, const char *name);
/* In the order of keys; entry->pack is of add_pack(). */
gboolean bk_index_run_writer_append (BkIndexRunWriter *writer, const BkIndexEntry *entry, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_index_run_writer_finish (BkIndexRunWriter *writer, GError **error) G_GNUC_WARN_UNUSED_RESULT;
