/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The repositories: rows of the catalog, each with an open store where its folder can be reached. Main
 * thread only.
 */
#pragma once

#include "catalog.h"
#include "store.h"

typedef struct BkRepositoryRegistry BkRepositoryRegistry;

BkRepositoryRegistry *bk_repository_registry_new (BkCatalog *catalog);
/* Blocks until nobody examines any more. */
void bk_repository_registry_free (BkRepositoryRegistry *registry);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkRepositoryRegistry, bk_repository_registry_free)

/* Opens all; makes "default" in @state_dir/default when there is none at all. A repository that cannot be
 * opened stays listed with state "unreachable" or "locked" and is tried again when used. */
gboolean bk_repository_registry_load (BkRepositoryRegistry *registry, const char *state_dir, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* @repository: name, path (absolute), type (NULL = that of what is there, else dedup), and for dedup what a new one shall be
 * like, and the file with the secret. Makes the folder, or takes over an existing repository with the backups in it.
 * INVALID, CONFLICT, DENIED. */
gboolean bk_repository_registry_add (BkRepositoryRegistry *registry, const BkRepositoryInfo *repository, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* NOT_FOUND. The backups on disk stay as they are; those of the same ID in other repositories take their place in the catalog. */
gboolean bk_repository_registry_remove (BkRepositoryRegistry *registry, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* BkRepositoryInfo, by name; (transfer full). */
GPtrArray *bk_repository_registry_list (BkRepositoryRegistry *registry);
/* (transfer full); NOT_FOUND names the known ones. */
BkRepositoryInfo *bk_repository_registry_info (BkRepositoryRegistry *registry, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Likewise, with what takes a walk over all of it: sizes, ratios, what gc would free. NOT_FOUND. */
void bk_repository_registry_examine_async (BkRepositoryRegistry *registry, const char *name, GAsyncReadyCallback callback, gpointer user_data);
BkRepositoryInfo *bk_repository_registry_examine_finish (BkRepositoryRegistry *registry, GAsyncResult *result, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* That one has gone. An ID is listed once: where the folder of a repository was copied, and both are there, a backup of the same
 * ID in the other one takes its place. */
void bk_repository_registry_replace_backup (BkRepositoryRegistry *registry, const char *vm, const char *backup);
/* (transfer full). @name NULL = "default". NOT_FOUND, UNREACHABLE; DENIED when its secret is missing or wrong. */
BkStore *bk_repository_registry_open (BkRepositoryRegistry *registry, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Whether something other than a backup may be written at @path (absolute, need not exist; links are followed): not in
 * a repository, whose images other backups stand on, and not in the state directory. INVALID. */
gboolean bk_repository_registry_check_outside (BkRepositoryRegistry *registry, const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;
