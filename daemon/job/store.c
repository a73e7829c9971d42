/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store.h"

#include "archive.h"

#include <string.h>

/* What a type of repository does; "own" is its object. */
typedef struct {
  const char *type;
  gboolean (*check) (const BkRepositoryInfo *wanted, GError **error);
  gboolean (*make) (const BkRepositoryInfo *wanted, GError **error);
  gpointer (*open) (const BkRepositoryInfo *kept, GError **error);
  void (*unref) (gpointer own);
  void (*describe) (gpointer own, BkRepositoryInfo *info);
  char *(*location) (gpointer own, const char *vm, const char *backup);
  bool (*has) (gpointer own, const char *vm, const char *backup);
  gboolean (*remove) (gpointer own, const char *vm, const char *backup, GError **error);
  BkBackupInfo *(*read) (gpointer own, const char *vm, const char *backup, GError **error);
  GPtrArray *(*list) (gpointer own, GError **error);
} StoreType;

struct BkStore {
  const StoreType *type;
  gpointer own;
};

static gboolean
refuse (GError **error, const char *message)
{
  g_set_error_literal (error, BK_ERROR, BK_ERROR_INVALID, message);
  return FALSE;
}

/* --- qcow2 --- */

static gboolean
archive_check (const BkRepositoryInfo *wanted, GError **error)
{
  if (wanted->chunk_size)
    return refuse (error, "/chunk_size: does not go with type qcow2");
  if (wanted->compression)
    return refuse (error, "/compression: does not go with type qcow2");
  if (wanted->passphrase_file || wanted->key_file)
    return refuse (error, "a repository of type qcow2 is not encrypted");
  return TRUE;
}

static gboolean
archive_make (const BkRepositoryInfo *wanted, GError **error)
{
  g_autoptr (BkArchive) archive = bk_archive_open (wanted->path, TRUE, error);
  return archive != NULL;
}

static gpointer
archive_open (const BkRepositoryInfo *kept, GError **error)
{
  return bk_archive_open (kept->path, FALSE, error);
}

static void
archive_unref (gpointer own)
{
  bk_archive_unref (own);
}

static void
archive_describe (gpointer own G_GNUC_UNUSED, BkRepositoryInfo *info)
{
  info->encryption = g_strdup ("none");
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

static gboolean
archive_remove (gpointer own, const char *vm, const char *backup, GError **error)
{
  return bk_archive_remove (own, vm, backup, error);
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
  .check = archive_check,
  .make = archive_make,
  .open = archive_open,
  .unref = archive_unref,
  .describe = archive_describe,
  .location = archive_location,
  .has = archive_has,
  .remove = archive_remove,
  .read = archive_read,
  .list = archive_list,
};

/* --- any --- */

static const StoreType *const types[] = { &qcow2 };

static const StoreType *
find_type (const BkRepositoryInfo *info, GError **error)
{
  for (size_t i = 0; i < G_N_ELEMENTS (types); i++)
    if (g_strcmp0 (info->type, types[i]->type) == 0)
      return types[i];
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/type: repositories of type '%s' are not in this version; use qcow2", info->type);
  return NULL;
}

gboolean
bk_store_check (const BkRepositoryInfo *wanted, GError **error)
{
  const StoreType *type = find_type (wanted, error);
  return type && type->check (wanted, error);
}

gboolean
bk_store_make (const BkRepositoryInfo *wanted, GError **error)
{
  const StoreType *type = find_type (wanted, error);
  return type && type->make (wanted, error);
}

BkStore *
bk_store_open (const BkRepositoryInfo *kept, GError **error)
{
  const StoreType *type = find_type (kept, error);
  gpointer own = type ? type->open (kept, error) : NULL;
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

void
bk_store_describe (BkStore *store, BkRepositoryInfo *info)
{
  store->type->describe (store->own, info);
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

gboolean
bk_store_remove (BkStore *store, const char *vm, const char *backup, GError **error)
{
  return store->type->remove (store->own, vm, backup, error);
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
