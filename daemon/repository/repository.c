/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repository-private.h"

#include "bk-json-table.h"
#include "fsio.h"
#include "ulid.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MARKER "repository.json"
#define FORMAT "backupd-dedup"
#define KEYS_SIZE 64
#define MAX_SECRET 65536

/* --- repository.json --- */

typedef struct {
  char *kind; /* passphrase, key-file */
  char *salt;
  char *wrapped; /* keys, sealed under the key that comes of the secret and the salt; bound to the repository's ID */
} Encryption;

static const char *const encryption_kinds[] = { "passphrase", "key-file", NULL };

static const BkField encryption_fields[] = {
  WORD (Encryption, kind, encryption_kinds, BK_FIELD_REQUIRED),
  STRING (Encryption, salt, BK_FIELD_REQUIRED),
  STRING (Encryption, wrapped, BK_FIELD_REQUIRED),
  END,
};
static const BkStruct encryption_struct = { "encryption", sizeof (Encryption), encryption_fields };

typedef struct {
  char *format;
  uint64_t version;
  char *id;
  uint64_t chunk_size;
  GPtrArray *class_chunk_sizes; /* BkClassChunkSize */
  int64_t compression;
  Encryption *encryption;
} Marker;

static const BkField marker_fields[] = {
  STRING (Marker, format, BK_FIELD_REQUIRED),
  UINT64 (Marker, version, BK_FIELD_REQUIRED),
  STRING (Marker, id, BK_FIELD_REQUIRED),
  UINT64 (Marker, chunk_size, BK_FIELD_REQUIRED),
  ARRAY (Marker, class_chunk_sizes, bk_class_chunk_size_struct, BK_FIELD_OMIT_IF_EMPTY),
  INT64 (Marker, compression, 0),
  OBJECT (Marker, encryption, encryption_struct, 0),
  END,
};
static const BkStruct marker_struct = { "repository", sizeof (Marker), marker_fields };

static void
marker_free (Marker *marker)
{
  bk_struct_free (&marker_struct, marker);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Marker, marker_free)

static bool
is_chunk_size (uint64_t size)
{
  return size >= BK_REPOSITORY_CHUNK_MIN && size <= BK_REPOSITORY_CHUNK_MAX && (size & (size - 1)) == 0;
}

/* NULL: they are in order. */
static const char *
why_not_class_chunk_sizes (const GPtrArray *sizes)
{
  g_autoptr (GHashTable) seen = g_hash_table_new (g_str_hash, g_str_equal);
  for (unsigned i = 0; sizes && i < sizes->len; i++) {
    const BkClassChunkSize *size = sizes->pdata[i];
    if (!bk_name_is_valid (size->class_name))
      return "the name of a class must be a word of letters, digits, '.', '_' and '-'";
    if (!is_chunk_size (size->chunk_size))
      return "the chunk size of a class must be a power of two from 64 KiB to 4 MiB";
    if (!g_hash_table_add (seen, size->class_name))
      return "a class has one chunk size";
  }
  return NULL;
}

static Marker *
parse_marker (const char *path, const char *text, size_t length, GError **error)
{
  g_autoptr (GError) failure = NULL;
  json_object *json = bk_json_parse (text, length, &failure);
  if (json == NULL) {
    g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT, "'%s' is damaged: %s", path, failure ? failure->message : "it is null");
    return NULL;
  }
  json_object *format = NULL, *version = NULL;
  bool ours = json_object_object_get_ex (json, "format", &format) && g_strcmp0 (json_object_get_string (format), FORMAT) == 0;
  bool newer = ours && json_object_object_get_ex (json, "version", &version) && json_object_get_int64 (version) > 1;
  g_autoptr (Marker) marker = ours && !newer ? bk_struct_from_json (&marker_struct, json, &failure) : NULL;
  json_object_put (json);
  if (!ours)
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "'%s' is that of another kind of repository", path);
  else if (newer)
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "'%s' is of a newer version; use a newer program", path);
  else if (marker == NULL || !is_chunk_size (marker->chunk_size) || why_not_class_chunk_sizes (marker->class_chunk_sizes) || !bk_id_is_valid (marker->id))
    g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT, "'%s' is damaged: %s", path, failure ? failure->message : "impossible values");
  else
    return g_steal_pointer (&marker);
  return NULL;
}

static gboolean
check_empty (const char *path, GError **error)
{
  const char *name;
  g_autoptr (GDir) folder = g_dir_open (path, 0, NULL);
  while (folder && (name = g_dir_read_name (folder)) != NULL) {
    if (strcmp (name, "lost+found") == 0)
      continue;
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "'%s' is not empty, and no repository of type dedup; name another folder", path);
    return FALSE;
  }
  return TRUE;
}

static Marker *
read_marker (const char *root, GError **error)
{
  g_autofree char *path = g_build_filename (root, MARKER, NULL);
  g_autofree char *text = NULL;
  g_autoptr (GError) failure = NULL;
  size_t length = 0;
  if (bk_fsio_read_file (path, MAX_SECRET, &text, &length, &failure))
    return parse_marker (path, text, length, error);
  if (!g_error_matches (failure, BK_ERROR, BK_ERROR_NOT_FOUND))
    g_propagate_error (error, g_steal_pointer (&failure));
  else if (check_empty (root, error))
    g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "there is no repository in '%s'", root);
  return NULL;
}

bool
bk_repository_is_one (const char *path)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (Marker) marker = read_marker (path, &error);
  return marker || g_error_matches (error, BK_ERROR, BK_ERROR_FAILED);
}

gboolean
bk_repository_is_encrypted (const char *path, bool *encrypted, GError **error)
{
  g_autoptr (Marker) marker = read_marker (path, error);
  if (marker)
    *encrypted = marker->encryption != NULL;
  return marker != NULL;
}

/* --- keys --- */

static gboolean
derive (const BkRepositorySecret *secret, const uint8_t salt[32], uint8_t key[32], GError **error)
{
  g_autofree char *content = NULL;
  size_t length = 0;
  if (secret->passphrase) {
    bk_crypto_derive (true, secret->passphrase, strlen (secret->passphrase), salt, key);
    return TRUE;
  }
  if (!bk_fsio_read_file (secret->key_file, MAX_SECRET, &content, &length, error)) {
    g_prefix_error (error, "the key file: ");
    return FALSE;
  }
  if (length < 32) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "the key file '%s' is too short; it needs 32 random bytes at least", secret->key_file);
    return FALSE;
  }
  bk_crypto_derive (false, content, length, salt, key);
  explicit_bzero (content, length);
  return TRUE;
}

static Encryption *
wrap_new_keys (const BkRepositorySecret *secret, const char *id, GError **error)
{
  uint8_t salt[32], key[KEYS_SIZE] = { 0 }, keys[KEYS_SIZE], sealed[KEYS_SIZE + BK_SEAL_OVERHEAD];
  bk_crypto_random (salt, sizeof salt);
  if (!derive (secret, salt, key, error))
    return NULL;
  bk_crypto_random (keys, sizeof keys);
  g_autoptr (BkCrypto) wrapper = bk_crypto_new (key);
  bk_crypto_seal (wrapper, id, strlen (id), keys, sizeof keys, sealed);
  explicit_bzero (keys, sizeof keys);
  explicit_bzero (key, sizeof key);
  Encryption *encryption = g_new0 (Encryption, 1);
  encryption->kind = g_strdup (secret->passphrase ? "passphrase" : "key-file");
  encryption->salt = bk_hex_encode (salt, sizeof salt);
  encryption->wrapped = bk_hex_encode (sealed, sizeof sealed);
  return encryption;
}

static BkCrypto *
unwrap_keys (const Marker *marker, const BkRepositorySecret *secret, GError **error)
{
  uint8_t salt[32], key[KEYS_SIZE] = { 0 }, keys[KEYS_SIZE], sealed[KEYS_SIZE + BK_SEAL_OVERHEAD];
  const Encryption *encryption = marker->encryption;
  if (!bk_hex_decode (encryption->salt, salt, sizeof salt) || !bk_hex_decode (encryption->wrapped, sealed, sizeof sealed)) {
    g_set_error_literal (error, BK_ERROR, BK_ERROR_CORRUPT, "the wrapped key of the repository is damaged");
    return NULL;
  }
  bool wants_passphrase = strcmp (encryption->kind, "passphrase") == 0;
  if (secret == NULL || (secret->passphrase != NULL) != wants_passphrase) {
    g_set_error (error, BK_ERROR, BK_ERROR_DENIED, "the repository is encrypted; it needs its %s", wants_passphrase ? "passphrase" : "key file");
    return NULL;
  }
  if (!derive (secret, salt, key, error))
    return NULL;
  g_autoptr (BkCrypto) wrapper = bk_crypto_new (key);
  explicit_bzero (key, sizeof key);
  if (!bk_crypto_open (wrapper, marker->id, strlen (marker->id), sealed, sizeof sealed, keys)) {
    g_set_error (error, BK_ERROR, BK_ERROR_DENIED, "the %s is not that of this repository", wants_passphrase ? "passphrase" : "key file");
    return NULL;
  }
  BkCrypto *crypto = bk_crypto_new (keys);
  explicit_bzero (keys, sizeof keys);
  return crypto;
}

/* --- making --- */

static gboolean
check_options (const BkRepositoryOptions *options, GError **error)
{
  const BkRepositorySecret *secret = options->secret;
  const char *problem = options->chunk_size && !is_chunk_size (options->chunk_size) ? "the chunk size must be a power of two from 64 KiB to 4 MiB"
                        : options->compression > 19                                 ? "the level of compression must be from 1 to 19"
                        : secret && (secret->passphrase != NULL) == (secret->key_file != NULL)
                            ? "a repository has either a passphrase or a key file"
                        : secret && secret->passphrase && secret->passphrase[0] == '\0' ? "the passphrase is empty"
                                                                                        : why_not_class_chunk_sizes (options->class_chunk_sizes);
  if (problem)
    g_set_error_literal (error, BK_ERROR, BK_ERROR_INVALID, problem);
  return problem == NULL;
}

static gboolean
make_folders (const char *path, GError **error)
{
  static const char *const folders[] = { "packs", "backups", "trash", "pins", "damage/chunks", "damage/backups" };
  for (size_t i = 0; i < G_N_ELEMENTS (folders); i++) {
    g_autofree char *folder = g_build_filename (path, folders[i], NULL);
    if (!bk_fsio_make_folder (folder, error))
      return FALSE;
  }
  return TRUE;
}

static void
remove_folders (const char *path)
{
  static const char *const names[] = { MARKER, "packs", "backups", "trash", "pins", "damage" };
  for (size_t i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autofree char *name = g_build_filename (path, names[i], NULL);
    if (!bk_fsio_remove (name, NULL))
      g_debug ("'%s' is left", name);
  }
}

/* The marker comes last: it is what makes a folder a repository. */
static gboolean
make (const char *path, const BkRepositoryOptions *options, GError **error)
{
  g_autoptr (Marker) marker = g_new0 (Marker, 1);
  marker->format = g_strdup (FORMAT);
  marker->version = 1;
  marker->id = bk_ulid_new ();
  marker->chunk_size = options->chunk_size ? options->chunk_size : BK_REPOSITORY_CHUNK_MIN;
  marker->class_chunk_sizes = g_ptr_array_new ();
  for (unsigned i = 0; options->class_chunk_sizes && i < options->class_chunk_sizes->len; i++)
    g_ptr_array_add (marker->class_chunk_sizes, bk_struct_copy (&bk_class_chunk_size_struct, options->class_chunk_sizes->pdata[i]));
  marker->compression = options->compression < 0 ? 0 : options->compression ? options->compression : 1;
  if (options->secret && (marker->encryption = wrap_new_keys (options->secret, marker->id, error)) == NULL)
    return FALSE;
  g_autofree char *file = g_build_filename (path, MARKER, NULL);
  if (!make_folders (path, error))
    return FALSE;
  json_object *json = bk_struct_to_json (&marker_struct, marker);
  gboolean ok = bk_fsio_write_json (file, json, error);
  json_object_put (json);
  return ok;
}

gboolean
bk_repository_create (const char *path, const BkRepositoryOptions *options, GError **error)
{
  const BkRepositoryOptions defaults = { 0 };
  bool was_there = g_file_test (path, G_FILE_TEST_EXISTS);
  options = options ? options : &defaults;
  if (!check_options (options, error) || !check_empty (path, error) || !bk_fsio_make_folder (path, error))
    return FALSE;
  if (make (path, options, error))
    return TRUE;
  remove_folders (path);
  if (!was_there)
    rmdir (path);
  return FALSE;
}

/* --- locks: of the open file, so that they end with the process whatever becomes of it --- */

#define WRITER_BYTE 0
#define READERS_BYTE 1

static bool
lock_byte (int fd, short type, off_t byte)
{
  struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };
  return fcntl (fd, F_OFD_SETLK, &lock) == 0;
}

static gboolean
take_lock (BkRepository *repository, GError **error)
{
  g_autofree char *path = g_build_filename (repository->path, "lock", NULL);
  bool writes = repository->access == BK_REPOSITORY_WRITE;
  repository->lock_fd = writes ? open (path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : open (path, O_RDONLY | O_CLOEXEC);
  if (!writes) {
    if (repository->lock_fd >= 0 && !lock_byte (repository->lock_fd, F_RDLCK, READERS_BYTE))
      g_debug ("'%s': no lock for reading", path);
    return TRUE;
  }
  if (repository->lock_fd < 0)
    return bk_error_set_errno (error, errno, "cannot open '%s'", path);
  if (lock_byte (repository->lock_fd, F_WRLCK, WRITER_BYTE))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "the repository in '%s' is in use by another process that writes into it", repository->path);
  return FALSE;
}

/* --- opening --- */

static gboolean
open_it (BkRepository *repository, const BkRepositorySecret *secret, GError **error)
{
  g_autoptr (Marker) marker = read_marker (repository->path, error);
  if (marker == NULL)
    return FALSE;
  repository->id = g_strdup (marker->id);
  repository->chunk_size = (uint32_t)marker->chunk_size;
  repository->class_chunk_sizes = g_steal_pointer (&marker->class_chunk_sizes);
  if (repository->class_chunk_sizes)
    g_ptr_array_set_free_func (repository->class_chunk_sizes, (GDestroyNotify)bk_class_chunk_size_free);
  repository->crypto = marker->encryption ? unwrap_keys (marker, secret, error) : bk_crypto_new (NULL);
  if (repository->crypto == NULL || !take_lock (repository, error))
    return FALSE;
  int level = (int)CLAMP (marker->compression, 0, 19);
  g_autofree char *index = g_build_filename (repository->path, "index", NULL);
  repository->storage = bk_file_storage_new (repository->path);
  repository->store = bk_chunk_store_open (repository->storage, index, repository->crypto, level, repository->access == BK_REPOSITORY_WRITE, error);
  return repository->store != NULL;
}

BkRepository *
bk_repository_open (const char *path, const BkRepositorySecret *secret, BkRepositoryAccess access, GError **error)
{
  g_autoptr (BkRepository) repository = g_new0 (BkRepository, 1);
  g_atomic_ref_count_init (&repository->references);
  repository->path = g_canonicalize_filename (path, NULL);
  repository->access = access;
  repository->opened_at = g_get_real_time ();
  repository->lock_fd = -1;
  g_mutex_init (&repository->mutex);
  g_mutex_init (&repository->moving);
  repository->leases = g_hash_table_new (NULL, NULL);
  repository->writing = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  return open_it (repository, secret, error) ? g_steal_pointer (&repository) : NULL;
}

BkRepository *
bk_repository_ref (BkRepository *repository)
{
  g_atomic_ref_count_inc (&repository->references);
  return repository;
}

void
bk_repository_unref (BkRepository *repository)
{
  if (!g_atomic_ref_count_dec (&repository->references))
    return;
  g_assert (g_hash_table_size (repository->leases) == 0 && g_hash_table_size (repository->writing) == 0);
  g_hash_table_unref (repository->leases);
  g_hash_table_unref (repository->writing);
  g_clear_pointer (&repository->store, bk_chunk_store_free);
  g_clear_pointer (&repository->storage, bk_storage_free);
  g_clear_pointer (&repository->crypto, bk_crypto_free);
  if (repository->lock_fd >= 0)
    close (repository->lock_fd);
  g_mutex_clear (&repository->mutex);
  g_mutex_clear (&repository->moving);
  g_clear_pointer (&repository->class_chunk_sizes, g_ptr_array_unref);
  g_free (repository->path);
  g_free (repository->id);
  g_free (repository);
}

const char *
bk_repository_path (BkRepository *repository)
{
  return repository->path;
}

const char *
bk_repository_id (BkRepository *repository)
{
  return repository->id;
}

uint32_t
bk_repository_chunk_size (BkRepository *repository)
{
  return repository->chunk_size;
}

uint32_t
bk_repository_class_chunk_size (BkRepository *repository, const char *name)
{
  for (unsigned i = 0; name && repository->class_chunk_sizes && i < repository->class_chunk_sizes->len; i++) {
    const BkClassChunkSize *size = repository->class_chunk_sizes->pdata[i];
    if (strcmp (size->class_name, name) == 0)
      return (uint32_t)size->chunk_size;
  }
  return repository->chunk_size;
}

GPtrArray *
bk_repository_class_chunk_sizes (BkRepository *repository)
{
  return repository->class_chunk_sizes;
}

gboolean
bk_repository_check_writable (BkRepository *repository, GError **error)
{
  g_autoptr (GError) failure = NULL;
  if (repository->access != BK_REPOSITORY_WRITE) {
    g_set_error_literal (error, BK_ERROR, BK_ERROR_FAILED, "the repository was opened for reading alone");
    return FALSE;
  }
  g_autoptr (Marker) marker = read_marker (repository->path, &failure);
  if (marker && strcmp (marker->id, repository->id) == 0)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "'%s' does not hold the repository any more that was opened there: %s", repository->path,
               failure ? failure->message : "another one is in its place");
  return FALSE;
}

bool
bk_repository_has_other_readers (BkRepository *repository)
{
  struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = READERS_BYTE, .l_len = 1 };
  return repository->lock_fd >= 0 && fcntl (repository->lock_fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* --- leases --- */

BkLease *
bk_lease_new (BkRepository *repository, const BkChunkId *root, uint64_t chunks)
{
  BkLease *lease = g_new0 (BkLease, 1);
  lease->root = *root;
  lease->chunks = chunks;
  g_mutex_lock (&repository->mutex);
  g_hash_table_add (repository->leases, lease);
  g_mutex_unlock (&repository->mutex);
  return lease;
}

void
bk_lease_free (BkRepository *repository, BkLease *lease)
{
  g_mutex_lock (&repository->mutex);
  g_hash_table_remove (repository->leases, lease);
  g_mutex_unlock (&repository->mutex);
  g_free (lease);
}
