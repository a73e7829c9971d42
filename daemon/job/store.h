/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Where backups rest, whatever the repository's type: what registry and jobs need of one without having to know which.
 * What only one type can do is asked of its own object: bk_store_archive(), bk_store_repository().
 *
 * Blocking: worker threads or start-up. Immutable, any thread.
 */
#pragma once

#include "bk-types.h"

/* Who asks for them includes archive.h or repository.h. */
typedef struct BkArchive BkArchive;
typedef struct BkRepository BkRepository;

typedef struct BkStore BkStore;

/* Opens what @kept tells of: type, path, the file with the secret, which is read each time. The folder must hold one.
 * Errors of bk_archive_open() and bk_repository_open(): DENIED when the secret is missing or wrong; INVALID for a type that
 * does not exist. */
BkStore *bk_store_open (const BkRepositoryInfo *kept, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Makes one in a folder that is missing or empty, with chunk_size and compression of @wanted as well; what is there
 * already, of that type, stays. CONFLICT when something else is there; INVALID. */
gboolean bk_store_make (const BkRepositoryInfo *wanted, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* INVALID for members that do not go with the type, or with each other. */
gboolean bk_store_check (const BkRepositoryInfo *wanted, GError **error) G_GNUC_WARN_UNUSED_RESULT;
BkStore *bk_store_ref (BkStore *store);
void bk_store_unref (BkStore *store);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkStore, bk_store_unref)

/* The type of the repository that is in folder @path; where there is none, that of a new one. */
const char *bk_store_guess_type (const char *path);

/* The file that makes the folder of @kept a repository is there: it is not when the file system is not mounted, and a
 * backup would go into the mount point. */
bool bk_store_is_there (const BkRepositoryInfo *kept);

/* (transfer none); NULL when the type is another. */
BkArchive *bk_store_archive (BkStore *store);       /* qcow2 */
BkRepository *bk_store_repository (BkStore *store); /* dedup */
bool bk_store_is_dedup (BkStore *store);

/* Fills in what can be told at once: encryption, chunk_size, class_chunk_sizes, bytes_stored. */
void bk_store_describe (BkStore *store, BkRepositoryInfo *info);

/* Where @backup is, for people: (transfer full). */
char *bk_store_location (BkStore *store, const char *vm, const char *backup);
/* Whether it is committed. */
bool bk_store_has (BkStore *store, const char *vm, const char *backup);
/* Takes a committed backup away on which no other stands; in a dedup repository it goes to the trash. NOT_FOUND, CONFLICT
 * (pinned, or another stands on it). */
gboolean bk_store_remove (BkStore *store, const char *vm, const char *backup, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* As a row for the catalog, but for the repository's name. NOT_FOUND, CORRUPT. */
BkBackupInfo *bk_store_read (BkStore *store, const char *vm, const char *backup, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* A part of the VM that the backup has beside its disks: "domain.xml". NOT_FOUND. (transfer full), NUL-terminated behind the
 * content. */
char *bk_store_read_part (BkStore *store, const char *vm, const char *backup, const char *name, size_t *length, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* All committed backups as such rows, oldest first; (transfer full), BkBackupInfo. */
GPtrArray *bk_store_list (BkStore *store, GError **error) G_GNUC_WARN_UNUSED_RESULT;
