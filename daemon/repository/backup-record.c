/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backup-record.h"

#include "bk-json-table.h"

#include <string.h>

#define LIMIT (4u * 1024 * 1024)
#define MAGIC "BKDMANIFEST 1 "
#define HEAD_SIZE (sizeof MAGIC - 1 + 2 * BK_HASH_SIZE + 1)
#define HASH_TYPE 0 /* no chunk has it */

static const BkField bk_record_disk_fields[] = {
  STRING (BkRecordDisk, name, BK_FIELD_REQUIRED),
  UINT64 (BkRecordDisk, size, BK_FIELD_REQUIRED),
  UINT64 (BkRecordDisk, chunk_size, BK_FIELD_REQUIRED),
  STRING (BkRecordDisk, root, BK_FIELD_REQUIRED),
  UINT64 (BkRecordDisk, bytes_in, 0),
  UINT64 (BkRecordDisk, bytes_changed, 0),
  UINT64 (BkRecordDisk, bytes_new, 0),
  UINT64 (BkRecordDisk, bytes_stored, 0),
  END,
};
STRUCT (BkRecordDisk, bk_record_disk, "disk of a manifest");

static const BkField bk_record_blob_fields[] = {
  STRING (BkRecordBlob, name, BK_FIELD_REQUIRED),
  STRING (BkRecordBlob, id, BK_FIELD_REQUIRED),
  UINT64 (BkRecordBlob, length, BK_FIELD_REQUIRED),
  END,
};
STRUCT (BkRecordBlob, bk_record_blob, "blob of a manifest");

static const BkField bk_backup_record_fields[] = {
  UINT64 (BkBackupRecord, version, BK_FIELD_REQUIRED),
  OBJECT (BkBackupRecord, backup, bk_backup_info_struct, BK_FIELD_REQUIRED),
  ARRAY (BkBackupRecord, disks, bk_record_disk_struct, 0),
  ARRAY (BkBackupRecord, blobs, bk_record_blob_struct, 0),
  END,
};
STRUCT (BkBackupRecord, bk_backup_record, "manifest");

static BkBackupRecord *
corrupt (GError **error, const char *what)
{
  g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT, "the manifest is damaged: %s", what);
  return NULL;
}

static bool
is_id (const char *text)
{
  uint8_t id[BK_HASH_SIZE];
  return bk_hex_decode (text, id, sizeof id);
}

static bool
is_sound_disk (const BkRecordDisk *disk)
{
  uint64_t chunk = disk->chunk_size;
  return disk->size <= G_MAXINT64 && chunk >= 64 * 1024 && chunk <= BK_CHUNK_LIMIT && (chunk & (chunk - 1)) == 0 &&
         (disk->root[0] == '\0' || is_id (disk->root));
}

static const char *
find_fault (const BkBackupRecord *record)
{
  if (record->version != 1)
    return "it is of version 1 by its first line alone";
  if (!bk_id_is_valid (record->backup->id) || !bk_name_is_valid (record->backup->vm))
    return "it has no proper name";
  for (unsigned i = 0; record->disks && i < record->disks->len; i++)
    if (!is_sound_disk (record->disks->pdata[i]))
      return "a disk has a wrong size or root";
  for (unsigned i = 0; record->blobs && i < record->blobs->len; i++) {
    const BkRecordBlob *blob = record->blobs->pdata[i];
    if (!is_id (blob->id) || blob->length == 0 || blob->length > BK_CHUNK_LIMIT)
      return "a blob has a wrong size or ID";
  }
  return NULL;
}

static char *
hash_of (const BkCrypto *crypto, const char *text, size_t length)
{
  uint8_t hash[BK_HASH_SIZE];
  bk_crypto_id (crypto, HASH_TYPE, text, length, hash);
  return bk_hex_encode (hash, sizeof hash);
}

BkBackupRecord *
bk_backup_record_parse (const BkCrypto *crypto, const char *data, size_t length, GError **error)
{
  if (length < HEAD_SIZE || data[HEAD_SIZE - 1] != '\n')
    return corrupt (error, "it is too short");
  if (g_str_has_prefix (data, "BKDMANIFEST ") && memcmp (data, MAGIC, sizeof MAGIC - 1) != 0) {
    g_set_error_literal (error, BK_ERROR, BK_ERROR_FAILED, "the manifest is of a newer version");
    return NULL;
  }
  g_autofree char *hash = hash_of (crypto, data + HEAD_SIZE, length - HEAD_SIZE);
  if (memcmp (data, MAGIC, sizeof MAGIC - 1) != 0 || memcmp (data + sizeof MAGIC - 1, hash, 2 * BK_HASH_SIZE) != 0)
    return corrupt (error, "it does not match its checksum");
  g_autoptr (GError) failure = NULL;
  json_object *json = bk_json_parse (data + HEAD_SIZE, length - HEAD_SIZE, &failure);
  if (json == NULL)
    return corrupt (error, failure ? failure->message : "it is null");
  g_autoptr (BkBackupRecord) record = bk_struct_from_json (&bk_backup_record_struct, json, &failure);
  json_object_put (json);
  if (record == NULL)
    return corrupt (error, failure->message);
  const char *fault = find_fault (record);
  return fault ? corrupt (error, fault) : g_steal_pointer (&record);
}

BkBackupRecord *
bk_backup_record_read (const BkCrypto *crypto, BkStorage *storage, const char *object, GError **error)
{
  g_autofree char *data = NULL;
  size_t length = 0;
  if (!bk_storage_get (storage, object, LIMIT, &data, &length, error))
    return NULL;
  BkBackupRecord *record = bk_backup_record_parse (crypto, data, length, error);
  if (record == NULL)
    g_prefix_error (error, "'%s': ", object);
  return record;
}

gboolean
bk_backup_record_write (const BkCrypto *crypto, const BkBackupRecord *record, BkStorage *storage, const char *object, GError **error)
{
  json_object *json = bk_struct_to_json (&bk_backup_record_struct, record);
  g_autofree char *text = g_strconcat (json_object_to_json_string_ext (json, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE), "\n", NULL);
  json_object_put (json);
  g_autofree char *hash = hash_of (crypto, text, strlen (text));
  g_autofree char *whole = g_strconcat (MAGIC, hash, "\n", text, NULL);
  g_autoptr (BkBackupRecord) check = bk_backup_record_parse (crypto, whole, strlen (whole), error);
  if (check == NULL || strlen (whole) > LIMIT) {
    g_prefix_error (error, "what would be written cannot be read again: ");
    if (check)
      g_set_error_literal (error, BK_ERROR, BK_ERROR_INVALID, "the manifest would be larger than 4 MiB");
    return FALSE;
  }
  return bk_storage_put (storage, object, whole, strlen (whole), true, error);
}

const BkRecordDisk *
bk_backup_record_find (const BkBackupRecord *record, const char *disk)
{
  for (unsigned i = 0; record->disks && i < record->disks->len; i++)
    if (strcmp (((const BkRecordDisk *)record->disks->pdata[i])->name, disk) == 0)
      return record->disks->pdata[i];
  return NULL;
}

BkChunkId
bk_record_disk_root (const BkRecordDisk *disk)
{
  BkChunkId root = bk_chunk_none;
  if (disk->root[0] && !bk_hex_decode (disk->root, root.id, sizeof root.id))
    g_assert_not_reached ();
  return root;
}
