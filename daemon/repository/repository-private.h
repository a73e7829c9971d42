/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Shared by the parts of a repository: repository.c (making, opening), repository-backups.c (what is there),
 * repository-writer.c (a backup to be), disk-sink.c, disk-reader.c, repository-trash.c, repository-verify.c, repository-gc.c,
 * repository-copy.c.
 */
#pragma once

#include "backup-record.h"
#include "image-map.h"
#include "repository.h"

struct BkRepository {
  gatomicrefcount references;
  char *path, *id;
  uint32_t chunk_size;
  BkStorage *storage;
  GPtrArray *class_chunk_sizes; /* BkClassChunkSize, or NULL */
  BkCrypto *crypto;
  BkChunkStore *store;
  BkRepositoryAccess access;
  int64_t opened_at; /* microseconds */
  int lock_fd; /* -1 where not even a lock can be had for reading */

  GMutex mutex;
  GHashTable *leases;  /* of BkLease: maps that are in use, whatever becomes of their backup */
  GHashTable *writing; /* set of "VM/BACKUP" */

  /* Between "backups" and "trash": held while a manifest goes from one to the other, while GC lists both, so that it finds
   * each in one of them, and from the reading of a manifest to the lease on what it leads to. */
  GMutex moving;
};

/* --- leases: maps that GC leaves alone --- */

typedef struct {
  BkChunkId root;
  uint64_t chunks;
} BkLease;

/* (transfer full), for bk_lease_free(). */
BkLease *bk_lease_new (BkRepository *repository, const BkChunkId *root, uint64_t chunks);
void bk_lease_free (BkRepository *repository, BkLease *lease);

/* The name of an object; (transfer full). @kind: backups, trash, pins, damage/backups. */
char *bk_repository_object (const char *kind, const char *vm, const char *backup);
/* The backup's record. NOT_FOUND, CORRUPT. */
BkBackupRecord *bk_repository_read_record (BkRepository *repository, const char *vm, const char *backup, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* All of them; a damaged one is an error with @strict, else logged and left out. BkBackupRecord, oldest first. */
GPtrArray *bk_repository_read_records (BkRepository *repository, bool strict, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Those in the trash; deleted_at of their info is set. Damaged ones likewise. */
GPtrArray *bk_repository_read_trash (BkRepository *repository, bool strict, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* FAILED unless it was opened for writing; UNREACHABLE when another repository, or none, is in its place. */
gboolean bk_repository_check_writable (BkRepository *repository, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Fills in what is kept beside the manifest: pinned, damaged, verified_at. */
void bk_repository_complete (BkRepository *repository, BkBackupInfo *info);

/* Whether another process has it open for reading. */
bool bk_repository_has_other_readers (BkRepository *repository);

uint64_t bk_disk_chunks (uint64_t size, uint32_t chunk_size);

/* --- the two ends of the mover --- */
typedef struct BkDiskWriter BkDiskWriter;
/* @base: of the same disk in another backup, or NULL. The sink is the member "sink" of it, freed by bk_sink_free(). */
BkSink *bk_disk_sink_new (BkRepository *repository, BkChunkWriter *chunks, const char *name, uint64_t size, uint32_t chunk_size,
                          const BkRecordDisk *base, BkDiskWriter **writer, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* What the disk is, or has come to; kept by the backup's writer, beyond the sink. */
BkDiskWriter *bk_disk_writer_ref (BkDiskWriter *writer);
void bk_disk_writer_unref (BkDiskWriter *writer);
const char *bk_disk_writer_name (BkDiskWriter *writer);
bool bk_disk_writer_is_finished (BkDiskWriter *writer);
void bk_disk_writer_read (BkDiskWriter *writer, BkRecordDisk *disk); /* fills it in; strings are (transfer full) */

/* (transfer full); keeps the repository and a lease. */
BkReader *bk_disk_reader_new (BkRepository *repository, const char *backup, const BkRecordDisk *disk, const BkRecordDisk *base);
