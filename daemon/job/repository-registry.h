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
void bk_repository_registry_free (BkRepositoryRegistry *registry);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkRepositoryRegistry, bk_repository_registry_free)

/* Opens all; makes "default" in @state_dir/default when there is none at all. A repository that cannot be
 * opened stays listed with state "unreachable" and is tried again when used. */
gboolean bk_repository_registry_load (BkRepositoryRegistry *registry, const char *state_dir, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* @repository: name, path (absolute), type (NULL = qcow2). Makes the folder, or takes over an existing repository with the backups in it.
 * INVALID, CONFLICT, DENIED. */
gboolean bk_repository_registry_add (BkRepositoryRegistry *registry, const BkRepositoryInfo *repository, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* NOT_FOUND. The backups on disk stay as they are. */
gboolean bk_repository_registry_remove (BkRepositoryRegistry *registry, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* BkRepositoryInfo, by name; (transfer full). */
GPtrArray *bk_repository_registry_list (BkRepositoryRegistry *registry);
/* (transfer full); NOT_FOUND names the known ones. */
BkRepositoryInfo *bk_repository_registry_info (BkRepositoryRegistry *registry, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* (transfer full). @name NULL = "default". NOT_FOUND, UNREACHABLE. */
BkStore *bk_repository_registry_open (BkRepositoryRegistry *registry, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Whether something other than a backup may be written at @path (absolute, need not exist; links are followed): not in
 * a repository, whose images other backups stand on, and not in the state directory. INVALID. */
gboolean bk_repository_registry_check_outside (BkRepositoryRegistry *registry, const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;
