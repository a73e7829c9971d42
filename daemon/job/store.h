/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Where backups rest, whatever the repository's type: what registry and jobs need of one without having to know which.
 * What only one type can do is asked of its own object: bk_store_archive().
 *
 * Blocking: worker threads or start-up. Immutable, any thread.
 */
#pragma once

#include "archive.h"

typedef struct BkStore BkStore;

/* Opens what @kept tells of (type, path). Makes it when the folder is missing or empty and @create. Errors of
 * bk_archive_open(); INVALID for a type that does not exist. */
BkStore *bk_store_open (const BkRepositoryInfo *kept, gboolean create, GError **error) G_GNUC_WARN_UNUSED_RESULT;
BkStore *bk_store_ref (BkStore *store);
void bk_store_unref (BkStore *store);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkStore, bk_store_unref)

/* The file that makes the folder of @kept a repository is there: it is not when the file system is not mounted, and a
 * backup would go into the mount point. */
bool bk_store_is_there (const BkRepositoryInfo *kept);

/* (transfer none); NULL when the type is another. */
BkArchive *bk_store_archive (BkStore *store);

/* Where @backup is, for people: (transfer full). */
char *bk_store_location (BkStore *store, const char *vm, const char *backup);
/* Whether it is committed. */
bool bk_store_has (BkStore *store, const char *vm, const char *backup);
/* As a row for the catalog, but for the repository's name. NOT_FOUND, CORRUPT. */
BkBackupInfo *bk_store_read (BkStore *store, const char *vm, const char *backup, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* All committed backups as such rows, oldest first; (transfer full), BkBackupInfo. */
GPtrArray *bk_store_list (BkStore *store, GError **error) G_GNUC_WARN_UNUSED_RESULT;
