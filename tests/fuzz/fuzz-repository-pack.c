/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A file that says it is a pack: its rows lie within it, and what is decoded of them is what their ID says.
 */
#include "fuzz.h"
#include "memory-storage.h"
#include "pack.h"

#include <string.h>

static void
check_entry (const BkCrypto *crypto, const uint8_t *data, size_t size, const BkPackEntry *entry)
{
  BkChunkHead head;
  g_assert (entry->offset <= size && entry->stored <= size - entry->offset && entry->length <= BK_CHUNK_LIMIT);
  g_autofree uint8_t *record = g_memdup2 (data + entry->offset, entry->stored);
  g_autofree uint8_t *content = g_malloc (entry->length);
  if (!bk_chunk_parse_head (record, &head) ||
      bk_chunk_decode (crypto, head.type, &entry->id, record, entry->stored, content, entry->length) != NULL)
    return;
  BkChunkId id;
  bk_crypto_id (crypto, (uint8_t)head.type, content, entry->length, id.id);
  g_assert (bk_chunk_id_equal (&id, &entry->id));
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (BkCrypto) crypto = bk_crypto_new (NULL);
  g_autoptr (BkStorage) storage = memory_storage_new ();
  g_autoptr (GError) error = NULL;
  g_assert (bk_storage_put (storage, BK_PACK_FOLDER "/pack", data, size, true, NULL));
  g_autoptr (GArray) entries = bk_pack_read_entries (storage, "pack", size, &error);
  g_assert ((entries == NULL) == (error != NULL));
  for (unsigned i = 0; entries != NULL && i < MIN (entries->len, 1000); i++)
    check_entry (crypto, data, size, &g_array_index (entries, BkPackEntry, i));
  return 0;
}
