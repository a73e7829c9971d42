/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "catalog-private.h"

gboolean
bk_catalog_add_repository (BkCatalog *catalog, const BkRepositoryInfo *repository, GError **error)
{
  g_autoptr (GError) inner = NULL;
  g_autoptr (BkStatement) insert = bk_statement_new (catalog->sql,
      "INSERT INTO repository (name, type, path, created_at, passphrase_file, key_file) VALUES (?, ?, ?, ?, ?, ?)", error);
  if (insert == NULL)
    return FALSE;
  bk_statement_bind_text (insert, repository->name);
  bk_statement_bind_text (insert, repository->type);
  bk_statement_bind_text (insert, repository->path);
  bk_statement_bind_int (insert, repository->created_at);
  bk_statement_bind_text (insert, repository->passphrase_file);
  bk_statement_bind_text (insert, repository->key_file);
  if (bk_statement_run (insert, &inner))
    return TRUE;
  if (g_error_matches (inner, BK_ERROR, BK_ERROR_CONFLICT))
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "there is a repository named '%s' or with the path '%s' already",
                 repository->name, repository->path);
  else
    g_propagate_error (error, g_steal_pointer (&inner));
  return FALSE;
}

static BkRepositoryInfo *
repository_of_row (BkStatement *row)
{
  BkRepositoryInfo *repository = g_new0 (BkRepositoryInfo, 1);
  repository->name = g_strdup (bk_statement_text (row, 0));
  repository->type = g_strdup (bk_statement_text (row, 1));
  repository->path = g_strdup (bk_statement_text (row, 2));
  repository->created_at = bk_statement_int (row, 3);
  repository->passphrase_file = g_strdup (bk_statement_text (row, 4));
  repository->key_file = g_strdup (bk_statement_text (row, 5));
  return repository;
}

GPtrArray *
bk_catalog_list_repositories (BkCatalog *catalog, GError **error)
{
  g_autoptr (BkStatement) select = bk_statement_new (catalog->sql,
      "SELECT name, type, path, created_at, passphrase_file, key_file FROM repository ORDER BY name", error);
  if (select == NULL)
    return NULL;
  g_autoptr (GPtrArray) repositories = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_repository_info_free);
  BkStepResult result;
  while ((result = bk_statement_step (select, error)) == BK_STEP_ROW)
    g_ptr_array_add (repositories, repository_of_row (select));
  return result == BK_STEP_END ? g_steal_pointer (&repositories) : NULL;
}

gboolean
bk_catalog_remove_repository (BkCatalog *catalog, const char *name, GError **error)
{
  /* Its backups go by ON DELETE CASCADE. */
  return bk_catalog_remove_named (catalog, "DELETE FROM repository WHERE name = ?", "repository", name,
                                  "SELECT name FROM repository ORDER BY name", error);
}
