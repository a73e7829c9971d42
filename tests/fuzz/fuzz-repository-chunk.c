/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A record that says it is a chunk, plain and encrypted: decoding ends, and gives nothing that was not hashed.
 */
#include "chunk.h"
#include "fuzz.h"

static void
decode (const BkCrypto *crypto, const uint8_t *data, size_t size)
{
  BkChunkHead head;
  if (size < BK_CHUNK_HEAD || !bk_chunk_parse_head (data, &head))
    return;
  g_autofree uint8_t *content = g_malloc (head.length);
  if (bk_chunk_decode (crypto, head.type, &head.id, data, size, content, head.length) != NULL)
    return;
  BkChunkId id;
  bk_crypto_id (crypto, (uint8_t)head.type, content, head.length, id.id);
  g_assert (bk_chunk_id_equal (&id, &head.id));
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  static const uint8_t keys[64] = { 1, 2, 3 };
  g_autoptr (BkCrypto) plain = bk_crypto_new (NULL);
  g_autoptr (BkCrypto) encrypted = bk_crypto_new (keys);
  decode (plain, data, size);
  decode (encrypted, data, size);
  return 0;
}
