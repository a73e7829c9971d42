/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The catalog: STATE/catalog.sqlite, and every SQL statement of the project. WAL, synchronous=FULL, foreign
 * keys; schemas in schemas/catalog/NNNN-name.sql, embedded, one transaction each, recorded in
 * PRAGMA user_version. Before a migration of an existing file it is copied to catalog.sqlite.before-NNNN. A file
 * of a newer version is refused. STATE/lock is held (flock) as long as the catalog is open: a second daemon
 * on the same folder is refused with CONFLICT, naming the process.
 *
 * Main thread only. A function returns when the change is on stable storage. Errors: NO_SPACE, CORRUPT,
 * DENIED, FAILED; others where named. IDs: where @prefix stands, an unambiguous prefix of an ID will do:
 * NOT_FOUND, or INVALID naming the matches when ambiguous.
 */
#pragma once

#include "bk-types.h"

typedef struct BkCatalog BkCatalog;

/* CONFLICT: another process holds it. INVALID: @state_dir is a file. FAILED: the catalog is of a newer version. */
BkCatalog *bk_catalog_open (const char *state_dir, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void bk_catalog_close (BkCatalog *catalog);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkCatalog, bk_catalog_close)

/* Six hex digits, made once at random: part of all names that this daemon uses in QEMU. */
const char *bk_catalog_instance (BkCatalog *catalog);

/* Several changes as one. Scope object: rolls back unless committed. May not be nested. */
typedef struct BkCatalogChange BkCatalogChange;
BkCatalogChange *bk_catalog_begin (BkCatalog *catalog, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Commits and frees *@change, sets it to NULL. */
gboolean bk_catalog_commit (BkCatalogChange **change, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void bk_catalog_rollback (BkCatalogChange *change);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkCatalogChange, bk_catalog_rollback)

/* --- VMs (BkVmInfo: name, qmp, agent, classes, libvirt, domain, uuid, added_at are kept) --- */
gboolean bk_catalog_add_vm (BkCatalog *catalog, const BkVmInfo *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT; /* CONFLICT: exists */
GPtrArray *bk_catalog_list_vms (BkCatalog *catalog, GError **error) G_GNUC_WARN_UNUSED_RESULT; /* by name */
/* Its domain is called otherwise now. */
gboolean bk_catalog_rename_domain (BkCatalog *catalog, const char *name, const char *domain, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The disks of a VM as they were seen last, in the form of recorded-disks.h. *@recorded: NULL = never; (transfer full). A VM
 * that is not there is none. */
gboolean bk_catalog_record_disks (BkCatalog *catalog, const char *vm, json_object *recorded, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_catalog_recorded_disks (BkCatalog *catalog, const char *vm, json_object **recorded, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Its checkpoints go too; jobs and backups stay. NOT_FOUND. */
gboolean bk_catalog_remove_vm (BkCatalog *catalog, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- repositories (name, type, path, passphrase_file, key_file, created_at are kept) --- */
gboolean bk_catalog_add_repository (BkCatalog *catalog, const BkRepositoryInfo *repository, GError **error) G_GNUC_WARN_UNUSED_RESULT; /* CONFLICT */
GPtrArray *bk_catalog_list_repositories (BkCatalog *catalog, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Its backups leave the catalog; nothing on disk is touched. NOT_FOUND. */
gboolean bk_catalog_remove_repository (BkCatalog *catalog, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- jobs --- */
typedef struct {
  BkJobInfo *info;
  uint64_t number;       /* given at insert; never used twice */
  json_object *request;  /* as it came */
  json_object *run;      /* the job kind's own plan, or NULL */
  bool settled;          /* nothing is left to undo or finish anywhere */
} BkJobRecord;
void bk_job_record_free (BkJobRecord *record);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkJobRecord, bk_job_record_free)

/* Gives record->number. CONFLICT when a job of that ID exists. */
gboolean bk_catalog_insert_job (BkCatalog *catalog, BkJobRecord *record, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Writes all of the record, by its ID. NOT_FOUND. */
gboolean bk_catalog_update_job (BkCatalog *catalog, const BkJobRecord *record, GError **error) G_GNUC_WARN_UNUSED_RESULT;
BkJobRecord *bk_catalog_get_job (BkCatalog *catalog, const char *prefix, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* BkJobRecord, oldest first: all that are not settled or not in an end state. For start-up. */
GPtrArray *bk_catalog_unsettled_jobs (BkCatalog *catalog, GError **error) G_GNUC_WARN_UNUSED_RESULT;
typedef struct {
  const char *vm, *state, *kind; /* NULL = any */
  uint64_t before;               /* only numbers below; 0 = any. A page's cursor. */
  unsigned limit;                /* 0 = 100 */
} BkJobFilter;
/* BkJobRecord, newest first. */
GPtrArray *bk_catalog_list_jobs (BkCatalog *catalog, const BkJobFilter *filter, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- backups --- */
/* Replaces a row with the same ID. NOT_FOUND: its repository is not in the catalog. */
gboolean bk_catalog_put_backup (BkCatalog *catalog, const BkBackupInfo *backup, GError **error) G_GNUC_WARN_UNUSED_RESULT;
BkBackupInfo *bk_catalog_get_backup (BkCatalog *catalog, const char *prefix, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Oldest first. @vm, @repository: NULL = any. */
GPtrArray *bk_catalog_list_backups (BkCatalog *catalog, const char *vm, const char *repository, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* IDs of backups with a disk whose parent is @id. */
GStrv bk_catalog_children_of_backup (BkCatalog *catalog, const char *id, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Nothing there is success: undo may come twice. */
gboolean bk_catalog_remove_backup (BkCatalog *catalog, const char *id, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- checkpoints --- */
/* Inserts or replaces, with its disks. Order is that of first insertion, for ever (never by name).
 * NOT_FOUND: its VM is not in the catalog. */
gboolean bk_catalog_put_checkpoint (BkCatalog *catalog, const BkCheckpointInfo *checkpoint, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* @vm may be NULL. @prefix may also be the checkpoint's name. */
BkCheckpointInfo *bk_catalog_get_checkpoint (BkCatalog *catalog, const char *vm, const char *prefix, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* BkCheckpointInfo, oldest first. @vm NULL = all. */
GPtrArray *bk_catalog_list_checkpoints (BkCatalog *catalog, const char *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Nothing there is success: undo may come twice. */
gboolean bk_catalog_remove_checkpoint (BkCatalog *catalog, const char *id, GError **error) G_GNUC_WARN_UNUSED_RESULT;
