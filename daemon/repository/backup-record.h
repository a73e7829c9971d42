/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The manifest of a backup, an object of at most 4 MiB: a first line
 *
 *   BKDMANIFEST 1 HASH
 *
 * and a JSON object. HASH is that of all behind the line: SHA-256, or HMAC-SHA-256 in an encrypted repository, in hexadecimal.
 */
#pragma once

#include "bk-types.h"
#include "chunk.h"
#include "storage.h"

typedef struct {
  char *name;
  uint64_t size;
  uint64_t chunk_size;
  char *root; /* hexadecimal; "" = all zero */
  uint64_t bytes_in, bytes_changed, bytes_new, bytes_stored;
} BkRecordDisk;
BK_TYPE (BkRecordDisk, bk_record_disk)

typedef struct {
  char *name;
  char *id; /* of its chunk */
  uint64_t length;
} BkRecordBlob;
BK_TYPE (BkRecordBlob, bk_record_blob)

typedef struct {
  uint64_t version; /* 1 */
  BkBackupInfo *backup;
  GPtrArray *disks; /* BkRecordDisk: those of @backup that are completed */
  GPtrArray *blobs; /* BkRecordBlob */
} BkBackupRecord;
BK_TYPE (BkBackupRecord, bk_backup_record)

/* NOT_FOUND, CORRUPT, FAILED when it is of a newer version. */
BkBackupRecord *bk_backup_record_read (const BkCrypto *crypto, BkStorage *storage, const char *object, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* As it comes from a file, for tests and fuzzing. */
BkBackupRecord *bk_backup_record_parse (const BkCrypto *crypto, const char *data, size_t length, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Durably. */
gboolean bk_backup_record_write (const BkCrypto *crypto, const BkBackupRecord *record, BkStorage *storage, const char *object, GError **error) G_GNUC_WARN_UNUSED_RESULT;

const BkRecordDisk *bk_backup_record_find (const BkBackupRecord *record, const char *disk);
/* The root's ID. */
BkChunkId bk_record_disk_root (const BkRecordDisk *disk);
