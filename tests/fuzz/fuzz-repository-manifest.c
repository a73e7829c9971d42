/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A manifest as it is, which its checksum stops, and the same under a checksum that is right. What is taken has proper sizes.
 */
#include "backup-record.h"
#include "fuzz.h"

#include <string.h>

static void
check_record (const BkBackupRecord *record)
{
  g_assert (record->backup != NULL && bk_id_is_valid (record->backup->id) && bk_name_is_valid (record->backup->vm));
  for (unsigned i = 0; record->disks != NULL && i < record->disks->len; i++) {
    const BkRecordDisk *disk = record->disks->pdata[i];
    g_assert (disk->chunk_size >= 65536 && disk->chunk_size <= BK_CHUNK_LIMIT && disk->size <= G_MAXINT64);
    (void)bk_record_disk_root (disk);
    g_assert (bk_backup_record_find (record, disk->name) != NULL);
  }
}

static void
parse (const BkCrypto *crypto, const char *data, size_t size)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkBackupRecord) record = bk_backup_record_parse (crypto, data, size, &error);
  g_assert ((record == NULL) == (error != NULL));
  if (record != NULL)
    check_record (record);
}

static void
parse_as_true (const BkCrypto *crypto, const uint8_t *body, size_t size)
{
  uint8_t hash[BK_HASH_SIZE];
  bk_crypto_id (crypto, 0, body, size, hash);
  g_autofree char *hex = bk_hex_encode (hash, sizeof hash);
  g_autoptr (GString) text = g_string_new ("BKDMANIFEST 1 ");
  g_string_append_printf (text, "%s\n", hex);
  g_string_append_len (text, (const char *)body, (gssize)size);
  g_autofree char *exact = g_memdup2 (text->str, text->len);
  parse (crypto, exact, text->len);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (BkCrypto) crypto = bk_crypto_new (NULL);
  const uint8_t *line = size > 0 ? memchr (data, '\n', size) : NULL;
  parse (crypto, (const char *)data, size);
  if (line != NULL)
    parse_as_true (crypto, line + 1, size - (size_t)(line + 1 - data));
  return 0;
}
