/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * nbdkit-backupd-plugin: one disk of one backup of a dedup repository, read-only.
 *
 *   nbdkit backupd repository=PATH backup=ID disk=NAME [passphrase-file=FILE | key-file=FILE]
 *
 * One reader is shared by all connections; a request borrows one of its workers. The map of extents is walked when a
 * client first asks for it, and kept as a list.
 */
#include "chunk-cache.h"
#include "patient-extents.h"
#include "vault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

/* More requests than that at once wait for each other. nbdkit begins 16 of a connection. */
#define WORKERS 16
#define CACHE_BYTES (32u * 1024 * 1024)

typedef struct {
  uint64_t offset; /* it goes up to the next one's */
  bool zero;
} Extent;

static struct {
  char *repository, *backup, *disk, *passphrase_file, *key_file;

  BkRepository *opened;
  BkReader *reader;
  BkChunkCache *cache;

  GMutex mutex;
  GCond freed;
  bool taken[WORKERS];

  GMutex map_mutex;
  GArray *map; /* Extent, or NULL */
} served;

/* --- parameters --- */

static int
backupd_config (const char *key, const char *value)
{
  static const struct {
    const char *key;
    char **where;
    bool is_path;
  } known[] = {
    { "repository", &served.repository, true },
    { "backup", &served.backup, false },
    { "disk", &served.disk, false },
    { "passphrase-file", &served.passphrase_file, true },
    { "key-file", &served.key_file, true },
  };
  for (size_t i = 0; i < G_N_ELEMENTS (known); i++) {
    if (strcmp (known[i].key, key) != 0)
      continue;
    free (*known[i].where);
    *known[i].where = known[i].is_path ? nbdkit_absolute_path (value) : strdup (value);
    return *known[i].where ? 0 : -1;
  }
  nbdkit_error ("unknown parameter '%s'; see nbdkit backupd --help", key);
  return -1;
}

static int
backupd_config_complete (void)
{
  if (served.repository == NULL || served.backup == NULL || served.disk == NULL) {
    nbdkit_error ("repository=PATH, backup=ID and disk=NAME are needed");
    return -1;
  }
  if (served.passphrase_file && served.key_file) {
    nbdkit_error ("passphrase-file and key-file exclude each other");
    return -1;
  }
  return 0;
}

#define backupd_config_help                                                                                                     \
  "repository=PATH       (required) folder of the dedup repository\n"                                                          \
  "backup=ID             (required) the backup, or the beginning of its ID\n"                                                  \
  "disk=NAME             (required) the disk\n"                                                                                \
  "passphrase-file=FILE  its first line is the passphrase of an encrypted repository\n"                                        \
  "key-file=FILE         the key file of an encrypted repository"

/* --- opening --- */

static gboolean
open_disk (GError **error)
{
  served.opened = bk_vault_open (served.repository, served.passphrase_file, served.key_file, error);
  g_autoptr (BkBackupInfo) backup = served.opened ? bk_vault_find (served.opened, served.backup, error) : NULL;
  if (backup == NULL || bk_vault_find_disk (backup, served.disk, error) == NULL)
    return FALSE;
  served.reader = bk_repository_open_disk (served.opened, backup->vm, backup->id, served.disk, NULL, error);
  if (served.reader == NULL || !bk_reader_open (served.reader, WORKERS, NULL, error))
    return FALSE;
  BkRepositoryDisk disk = { 0 };
  if (!bk_repository_read_disk (served.opened, backup->vm, backup->id, served.disk, &disk, error))
    return FALSE;
  served.cache = bk_chunk_cache_new (served.reader, disk.chunk_size, CACHE_BYTES / disk.chunk_size);
  return TRUE;
}

/* Behind the fork, as the repository may have threads. */
static int
backupd_after_fork (void)
{
  g_autoptr (GError) error = NULL;
  if (open_disk (&error))
    return 0;
  nbdkit_error ("%s", error->message);
  return -1;
}

static void
backupd_cleanup (void)
{
  g_clear_pointer (&served.cache, bk_chunk_cache_free);
  g_clear_pointer (&served.reader, bk_reader_free);
  g_clear_pointer (&served.opened, bk_repository_unref);
  g_clear_pointer (&served.map, g_array_unref);
}

static void
backupd_unload (void)
{
  free (served.repository);
  free (served.backup);
  free (served.disk);
  free (served.passphrase_file);
  free (served.key_file);
}

/* --- workers --- */

static unsigned
take_worker (void)
{
  unsigned worker = 0;
  g_mutex_lock (&served.mutex);
  for (;;) {
    for (worker = 0; worker < WORKERS && served.taken[worker]; worker++)
      ;
    if (worker < WORKERS)
      break;
    g_cond_wait (&served.freed, &served.mutex);
  }
  served.taken[worker] = true;
  g_mutex_unlock (&served.mutex);
  return worker;
}

static void
give_worker_back (unsigned worker)
{
  g_mutex_lock (&served.mutex);
  served.taken[worker] = false;
  g_cond_signal (&served.freed);
  g_mutex_unlock (&served.mutex);
}

/* --- the map --- */

static gboolean
add_extent (uint64_t offset, uint64_t length G_GNUC_UNUSED, BkExtentKind kind, gpointer user_data, GError **error G_GNUC_UNUSED)
{
  Extent extent = { offset, kind == BK_EXTENT_ZERO };
  g_array_append_val ((GArray *)user_data, extent);
  return TRUE;
}

static GArray *
get_map (GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&served.map_mutex);
  if (served.map)
    return served.map;
  g_autoptr (GArray) map = g_array_new (FALSE, FALSE, sizeof (Extent));
  if (!bk_patient_extents (served.reader, add_extent, map, NULL, error))
    return NULL;
  return served.map = g_steal_pointer (&map);
}

/* The last extent that does not begin behind @offset. */
static unsigned
find_extent (GArray *map, uint64_t offset)
{
  unsigned low = 0, high = map->len;
  while (high - low > 1) {
    unsigned middle = low + (high - low) / 2;
    if (g_array_index (map, Extent, middle).offset <= offset)
      low = middle;
    else
      high = middle;
  }
  return low;
}

static int
backupd_extents (void *handle G_GNUC_UNUSED, uint32_t count, uint64_t offset, uint32_t flags, struct nbdkit_extents *extents)
{
  g_autoptr (GError) error = NULL;
  GArray *map = get_map (&error);
  if (map == NULL) {
    nbdkit_error ("%s", error->message);
    nbdkit_set_error (EIO);
    return -1;
  }
  for (unsigned i = find_extent (map, offset); i < map->len; i++) {
    const Extent *extent = &g_array_index (map, Extent, i);
    uint64_t end = i + 1 < map->len ? extent[1].offset : served.reader->size;
    uint64_t start = MAX (extent->offset, offset);
    if (start >= offset + count)
      break;
    if (nbdkit_add_extent (extents, start, end - start, extent->zero ? NBDKIT_EXTENT_ZERO | NBDKIT_EXTENT_HOLE : 0) < 0)
      return -1;
    if (flags & NBDKIT_FLAG_REQ_ONE)
      break;
  }
  return 0;
}

/* --- serving --- */

static void *
backupd_open (int readonly G_GNUC_UNUSED)
{
  return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t
backupd_get_size (void *handle G_GNUC_UNUSED)
{
  return (int64_t)served.reader->size;
}

static int
backupd_can_multi_conn (void *handle G_GNUC_UNUSED)
{
  return 1;
}

static int
backupd_can_extents (void *handle G_GNUC_UNUSED)
{
  return 1;
}

static int
backupd_can_cache (void *handle G_GNUC_UNUSED)
{
  return NBDKIT_CACHE_EMULATE;
}

static int
backupd_pread (void *handle G_GNUC_UNUSED, void *buffer, uint32_t count, uint64_t offset, uint32_t flags G_GNUC_UNUSED)
{
  g_autoptr (GError) error = NULL;
  unsigned worker = take_worker ();
  gboolean ok = bk_chunk_cache_read (served.cache, worker, offset, buffer, count, &error);
  give_worker_back (worker);
  if (ok)
    return 0;
  nbdkit_error ("%s", error->message);
  nbdkit_set_error (EIO);
  return -1;
}

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

static struct nbdkit_plugin plugin = {
  .name = "backupd",
  .longname = "backups of backupd",
  .description = "serves one disk of one backup of a dedup repository, read-only",
  .version = BK_VERSION,
  .unload = backupd_unload,
  .config = backupd_config,
  .config_complete = backupd_config_complete,
  .config_help = backupd_config_help,
  .magic_config_key = "repository",
  .after_fork = backupd_after_fork,
  .cleanup = backupd_cleanup,
  .open = backupd_open,
  .get_size = backupd_get_size,
  .can_multi_conn = backupd_can_multi_conn,
  .can_extents = backupd_can_extents,
  .can_cache = backupd_can_cache,
  .pread = backupd_pread,
  .extents = backupd_extents,
};

NBDKIT_REGISTER_PLUGIN (plugin)
