/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "index-entry.h"

#include <string.h>

void
bk_index_key (const BkChunkId *id, uint64_t key[2])
{
  memcpy (key, id, 2 * sizeof *key);
  key[0] = GUINT64_FROM_LE (key[0]);
  key[1] = GUINT64_FROM_LE (key[1]);
}

int
bk_index_key_compare (const uint64_t a[2], const uint64_t b[2])
{
  if (a[0] != b[0])
    return a[0] < b[0] ? -1 : 1;
  return a[1] < b[1] ? -1 : a[1] > b[1];
}

int
bk_index_entry_compare (const void *a, const void *b)
{
  const BkIndexEntry *left = a, *right = b;
  return bk_index_key_compare (left->key, right->key);
}
