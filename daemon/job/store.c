/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store.h"

#include "archive.h"
#include "fsio.h"
#include "repository.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

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
    return refuse (error, "/chunk_size: goes with type dedup only");
  if (wanted->class_chunk_sizes && wanted->class_chunk_sizes->len)
    return refuse (error, "/class_chunk_sizes: goes with type dedup only");
  if (wanted->compression)
    return refuse (error, "/compression: goes with type dedup only");
  if (wanted->passphrase_file || wanted->key_file)
    return refuse (error, "a repository of type qcow2 is not encrypted; use type dedup");
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

/* --- dedup --- */

/* Passphrases are typed by people, and end where the line does. */
#define MAX_PASSPHRASE 4096

typedef struct {
  BkRepositorySecret secret;
  char *passphrase;
} Secret;

static void
secret_clear (Secret *secret)
{
  if (secret->passphrase)
    explicit_bzero (secret->passphrase, strlen (secret->passphrase));
  g_free (secret->passphrase);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Secret, secret_clear)

static gboolean
deny (GError **error, const char *what, const char *why)
{
  g_set_error (error, BK_ERROR, BK_ERROR_DENIED, "%s: %s", what, why);
  return FALSE;
}

static gboolean
read_passphrase (Secret *secret, const char *path, GError **error)
{
  g_autoptr (GError) failure = NULL;
  size_t length = 0;
  if (!bk_fsio_read_file (path, MAX_PASSPHRASE, &secret->passphrase, &length, &failure))
    return deny (error, "the passphrase cannot be read", failure->message);
  secret->passphrase[strcspn (secret->passphrase, "\r\n")] = '\0';
  secret->secret.passphrase = secret->passphrase;
  return secret->passphrase[0] ? TRUE : deny (error, path, "the passphrase is empty");
}

static gboolean
read_secret (Secret *secret, const BkRepositoryInfo *info, GError **error)
{
  secret->secret.key_file = info->key_file;
  if (info->key_file && access (info->key_file, R_OK) < 0)
    return deny (error, info->key_file, g_strerror (errno));
  return info->passphrase_file == NULL || read_passphrase (secret, info->passphrase_file, error);
}

static const BkRepositorySecret *
secret_or_none (const Secret *secret)
{
  return secret->secret.passphrase || secret->secret.key_file ? &secret->secret : NULL;
}

static gboolean
check_absolute (const char *member, const char *path, GError **error)
{
  if (path == NULL || g_path_is_absolute (path))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/%s: must be an absolute path on the daemon's host", member);
  return FALSE;
}

static gboolean
repository_check (const BkRepositoryInfo *wanted, GError **error)
{
  uint64_t size = wanted->chunk_size;
  if (size && (size < BK_REPOSITORY_CHUNK_MIN || size > BK_REPOSITORY_CHUNK_MAX || (size & (size - 1))))
    return refuse (error, "/chunk_size: must be a power of two from 64 KiB to 4 MiB");
  if (wanted->compression > 19)
    return refuse (error, "/compression: must be from 1 to 19");
  if (wanted->passphrase_file && wanted->key_file)
    return refuse (error, "/key_file: excludes passphrase_file; give one of them");
  return check_absolute ("passphrase_file", wanted->passphrase_file, error) && check_absolute ("key_file", wanted->key_file, error);
}

static gboolean
repository_make (const BkRepositoryInfo *wanted, GError **error)
{
  g_auto (Secret) secret = { 0 };
  if (g_file_test (wanted->path, G_FILE_TEST_EXISTS) && !g_file_test (wanted->path, G_FILE_TEST_IS_DIR)) {
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "'%s' is no folder; name one that is empty, or new", wanted->path);
    return FALSE;
  }
  if (bk_repository_is_one (wanted->path))
    return TRUE;
  if (!read_secret (&secret, wanted, error))
    return FALSE;
  const BkRepositoryOptions options = { (uint32_t)wanted->chunk_size, (int)wanted->compression, wanted->class_chunk_sizes, secret_or_none (&secret) };
  return bk_repository_create (wanted->path, &options, error);
}

static gpointer
repository_open (const BkRepositoryInfo *kept, GError **error)
{
  g_auto (Secret) secret = { 0 };
  if (!read_secret (&secret, kept, error))
    return NULL;
  return bk_repository_open (kept->path, secret_or_none (&secret), BK_REPOSITORY_WRITE, error);
}

static void
repository_unref (gpointer own)
{
  bk_repository_unref (own);
}

static void
repository_describe (gpointer own, BkRepositoryInfo *info)
{
  GPtrArray *sizes = bk_repository_class_chunk_sizes (own);
  info->chunk_size = bk_repository_chunk_size (own);
  info->class_chunk_sizes = g_ptr_array_new ();
  for (unsigned i = 0; sizes && i < sizes->len; i++)
    g_ptr_array_add (info->class_chunk_sizes, bk_struct_copy (&bk_class_chunk_size_struct, sizes->pdata[i]));
  info->bytes_stored = bk_repository_bytes_stored (own);
  info->encryption = g_strdup (info->passphrase_file ? "passphrase" : info->key_file ? "key-file" : "none");
}

static char *
repository_location (gpointer own, const char *vm, const char *backup)
{
  g_autofree char *component = bk_path_component_escape (vm);
  return g_build_filename (bk_repository_path (own), "backups", component, backup, NULL);
}

static bool
repository_has (gpointer own, const char *vm, const char *backup)
{
  return bk_repository_has (own, vm, backup);
}

static gboolean
repository_remove (gpointer own, const char *vm, const char *backup, GError **error)
{
  return bk_repository_delete (own, vm, backup, error);
}

/* What is kept beside the manifest. */
static void
add_marks (BkRepository *repository, BkBackupInfo *info)
{
  g_autoptr (GPtrArray) damage = bk_repository_read_damage (repository, info->vm, info->id, NULL);
  info->damaged = damage && damage->len > 0;
  info->pinned = bk_repository_is_pinned (repository, info->vm, info->id);
}

static BkBackupInfo *
repository_read (gpointer own, const char *vm, const char *backup, GError **error)
{
  BkBackupInfo *info = bk_repository_read (own, vm, backup, error);
  if (info)
    add_marks (own, info);
  return info;
}

static GPtrArray *
repository_list (gpointer own, GError **error)
{
  GPtrArray *found = bk_repository_list (own, error);
  for (unsigned i = 0; found && i < found->len; i++)
    add_marks (own, found->pdata[i]);
  return found;
}

static const StoreType dedup = {
  .type = "dedup",
  .check = repository_check,
  .make = repository_make,
  .open = repository_open,
  .unref = repository_unref,
  .describe = repository_describe,
  .location = repository_location,
  .has = repository_has,
  .remove = repository_remove,
  .read = repository_read,
  .list = repository_list,
};

/* --- any --- */

static const StoreType *const types[] = { &dedup, &qcow2 };

static const StoreType *
find_type (const BkRepositoryInfo *info, GError **error)
{
  for (size_t i = 0; i < G_N_ELEMENTS (types); i++)
    if (g_strcmp0 (info->type, types[i]->type) == 0)
      return types[i];
  g_autofree char *words = g_strjoinv (", ", (GStrv)bk_repo_types);
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/type: '%s' is no type of repository; choose one of: %s", info->type, words);
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

static bool
has_marker (const char *path)
{
  g_autofree char *marker = g_build_filename (path, "repository.json", NULL);
  return g_file_test (marker, G_FILE_TEST_IS_REGULAR);
}

bool
bk_store_is_there (const BkRepositoryInfo *kept)
{
  return has_marker (kept->path);
}

const char *
bk_store_guess_type (const char *path)
{
  return has_marker (path) && !bk_repository_is_one (path) ? qcow2.type : dedup.type;
}

BkArchive *
bk_store_archive (BkStore *store)
{
  return store->type == &qcow2 ? store->own : NULL;
}

BkRepository *
bk_store_repository (BkStore *store)
{
  return store->type == &dedup ? store->own : NULL;
}

bool
bk_store_is_dedup (BkStore *store)
{
  return store->type == &dedup;
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

#define LONGEST_PART (4u << 20)

char *
bk_store_read_part (BkStore *store, const char *vm, const char *backup, const char *name, size_t *length, GError **error)
{
  if (bk_store_is_dedup (store))
    return bk_repository_read_blob (bk_store_repository (store), vm, backup, name, length, error);
  g_autofree char *folder = bk_archive_backup_folder (bk_store_archive (store), vm, backup);
  g_autofree char *path = g_build_filename (folder, name, NULL);
  char *content = NULL;
  return bk_fsio_read_file (path, LONGEST_PART, &content, length, error) ? content : NULL;
}
