/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the files of the chunk store share: chunk-store.c opens and reads, chunk-writer.c writes, chunk-sweep.c marks and frees.
 */
#pragma once

#include "chunk-index.h"
#include "chunk-store.h"

typedef struct {
  char name[32];
  uint64_t size;
  unsigned holders; /* writers that count on it */
  bool gone;        /* it cannot be read; what the index says of it is passed over */
  bool seen;        /* when the folder was listed last */
  bool indexed;     /* all its entries are in the index */
  bool exempt;      /* held by a writer at any time since begin_marks: what is not marked may be live all the same */
  uint64_t live;    /* for sweeps: marked bytes */
} BkStorePack;

struct BkChunkStore {
  BkStorage *storage;
  const BkCrypto *crypto;
  int level;
  bool writable;
  GMutex mutex; /* all below */
  GPtrArray *packs; /* BkStorePack, by number; never removed, so that numbers stay */
  GHashTable *numbers; /* of packs by name, + 1 */
  BkChunkIndex *index;
  GHashTable *bad; /* set of "PACK.OFFSET" */
  GPtrArray *writers; /* BkChunkWriter */
  bool marking, marks_lost;
  bool doubted; /* the index was made anew because something was not found */
};

struct BkChunkWriter {
  BkChunkStore *store;
  GMutex mutex;         /* of the pack that is written */
  BkPackWriter *open;   /* or NULL */
  GHashTable *pending;  /* BkPackEntry by its ID to the BkPackWriter; until the pack is published */
  GPtrArray *sealing;   /* packs that are being finished */
  GHashTable *held;     /* set of pack numbers; under the store's mutex */
};

/* With the store's mutex. Returns the number. */
uint32_t bk_chunk_store_add_pack (BkChunkStore *store, const char *name, uint64_t size);
/* Packs stay where they are in memory; their array does not. */
BkStorePack *bk_chunk_store_pack (BkChunkStore *store, uint32_t number);
/* With the store's mutex. @entries (BkPackEntry), all of pack @number, can be found from here on. */
void bk_chunk_store_index (BkChunkStore *store, uint32_t number, GArray *entries);
/* Without locks: for now and then, when packs have come. Others go on meanwhile. */
void bk_chunk_store_merge_index (BkChunkStore *store);
/* With the store's mutex. FALSE: there is no copy to count on. */
bool bk_chunk_store_find (BkChunkStore *store, const BkChunkId *id, BkIndexEntry *entry);
/* With the store's mutex. Makes the index anew, if that is why something was not found; TRUE: look again. */
bool bk_chunk_store_mend_index (BkChunkStore *store);
/* The name of what says that the copy there is bad; (transfer full). */
char *bk_chunk_store_damage_object (const char *name);
/* Bytes of one record, for each thread. (transfer none) */
uint8_t *bk_chunk_store_buffer (void);

/* With the store's mutex. The pack stays until the writer is freed. */
void bk_chunk_writer_hold (BkChunkWriter *writer, uint32_t number);
/* A chunk that only @writer knows yet; *@found tells whether it is one. */
gboolean bk_chunk_writer_read (BkChunkWriter *writer, BkChunkType type, const BkChunkId *id, void *out, size_t length, bool *found, GError **error) G_GNUC_WARN_UNUSED_RESULT;
