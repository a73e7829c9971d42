/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store.h"

#include <string.h>

/* What a type of repository does; "own" is its object. */
typedef struct {
  const char *type;
  gpointer (*open) (const BkRepositoryInfo *kept, gboolean create, GError **error);
  void (*unref) (gpointer own);
  char *(*location) (gpointer own, const char *vm, const char *backup);
  bool (*has) (gpointer own, const char *vm, const char *backup);
  BkBackupInfo *(*read) (gpointer own, const char *vm, const char *backup, GError **error);
  GPtrArray *(*list) (gpointer own, GError **error);
} StoreType;

struct BkStore {
  const StoreType *type;
  gpointer own;
};

/* --- qcow2 --- */

static gpointer
archive_open (const BkRepositoryInfo *kept, gboolean create, GError **error)
{
  return bk_archive_open (kept->path, create, error);
}

static void
archive_unref (gpointer own)
{
  bk_archive_unref (own);
}

static char *
archive_location (gpointer own, const char *vm, const char *backup)
{
  return bk_archive_backup_folder (own, vm, backup);
}

static bool
archive_has (gpointer own, const char *vm, const char *backup)
{
  return bk_archive_has (own, vm, backup);
}

static BkBackupInfo *
archive_read (gpointer own, const char *vm, const char *backup, GError **error)
{
  return bk_archive_read (own, vm, backup, error);
}

static GPtrArray *
archive_list (gpointer own, GError **error)
{
  return bk_archive_list (own, error);
}

static const StoreType qcow2 = {
  .type = "qcow2",
  .open = archive_open,
  .unref = archive_unref,
  .location = archive_location,
  .has = archive_has,
  .read = archive_read,
  .list = archive_list,
};

/* --- any --- */

static const StoreType *const types[] = { &qcow2 };

static const StoreType *
find_type (const BkRepositoryInfo *kept, GError **error)
{
  for (size_t i = 0; i < G_N_ELEMENTS (types); i++)
    if (g_strcmp0 (kept->type, types[i]->type) == 0)
      return types[i];
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "repositories of type '%s' are not known to this version", kept->type);
  return NULL;
}

BkStore *
bk_store_open (const BkRepositoryInfo *kept, gboolean create, GError **error)
{
  const StoreType *type = find_type (kept, error);
  gpointer own = type ? type->open (kept, create, error) : NULL;
  if (own == NULL)
    return NULL;
  BkStore *store = g_atomic_rc_box_new0 (BkStore);
  store->type = type;
  store->own = own;
  return store;
}

BkStore *
bk_store_ref (BkStore *store)
{
  return g_atomic_rc_box_acquire (store);
}

static void
clear (gpointer at)
{
  BkStore *store = at;
  store->type->unref (store->own);
}

void
bk_store_unref (BkStore *store)
{
  g_atomic_rc_box_release_full (store, clear);
}

bool
bk_store_is_there (const BkRepositoryInfo *kept)
{
  g_autofree char *marker = g_build_filename (kept->path, "repository.json", NULL);
  return g_file_test (marker, G_FILE_TEST_IS_REGULAR);
}

BkArchive *
bk_store_archive (BkStore *store)
{
  return store->type == &qcow2 ? store->own : NULL;
}

char *
bk_store_location (BkStore *store, const char *vm, const char *backup)
{
  return store->type->location (store->own, vm, backup);
}

bool
bk_store_has (BkStore *store, const char *vm, const char *backup)
{
  return store->type->has (store->own, vm, backup);
}

BkBackupInfo *
bk_store_read (BkStore *store, const char *vm, const char *backup, GError **error)
{
  return store->type->read (store->own, vm, backup, error);
}

GPtrArray *
bk_store_list (BkStore *store, GError **error)
{
  return store->type->list (store->own, error);
}
