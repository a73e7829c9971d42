/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Objects as files of a folder. What is being written has a name that begins with a dot, beside the name to be.
 */
#include "storage.h"

#include "fsio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_OPEN 256u /* files that are kept open */
/* The kernel is told to write when this much has come together: large requests suit disks. */
#define WRITE_BEHIND (4u * 1024 * 1024)

/* One that is read. */
typedef struct {
  int fd;
  unsigned users;
  bool gone; /* from the table: whoever is the last to use it closes it */
} OpenFile;

typedef struct {
  BkStorage storage;
  char *root;
  GMutex mutex;
  GHashTable *open; /* OpenFile by name */
} FileStorage;

static char *
path_of (FileStorage *self, const char *name)
{
  return g_build_filename (self->root, name, NULL);
}

/* --- whole objects --- */

static gboolean
make_folder_of (const char *path, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (path);
  return bk_fsio_make_folder (folder, error);
}

static gboolean
put (BkStorage *storage, const char *name, const void *data, size_t length, bool durable, GError **error)
{
  g_autofree char *path = path_of ((FileStorage *)storage, name);
  if (!make_folder_of (path, error))
    return FALSE;
  if (durable || length > 0 || g_file_test (path, G_FILE_TEST_EXISTS))
    return bk_fsio_write_file (path, data, length, error);
  return bk_fsio_create_file (path, error);
}

static gboolean
get (BkStorage *storage, const char *name, size_t limit, char **data, size_t *length, GError **error)
{
  g_autofree char *path = path_of ((FileStorage *)storage, name);
  return bk_fsio_read_file (path, limit, data, length, error);
}

static bool
has (BkStorage *storage, const char *name)
{
  g_autofree char *path = path_of ((FileStorage *)storage, name);
  return g_file_test (path, G_FILE_TEST_IS_REGULAR);
}

static gboolean
move (BkStorage *storage, const char *from, const char *to, GError **error)
{
  g_autofree char *source = path_of ((FileStorage *)storage, from), *target = path_of ((FileStorage *)storage, to);
  return make_folder_of (target, error) && bk_fsio_rename (source, target, FALSE, error);
}

/* --- reading --- */

static void
close_file (gpointer data)
{
  OpenFile *file = data;
  if (file->users > 0) {
    file->gone = true;
    return;
  }
  close (file->fd);
  g_free (file);
}

static gboolean
is_unused (gpointer name G_GNUC_UNUSED, gpointer data, gpointer user_data G_GNUC_UNUSED)
{
  return ((const OpenFile *)data)->users == 0;
}

/* With the mutex. */
static OpenFile *
open_file (FileStorage *self, const char *name, GError **error)
{
  g_autofree char *path = path_of (self, name);
  int fd = open (path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    bk_error_set_errno (error, errno, "cannot open '%s'", path);
    return NULL;
  }
  if (g_hash_table_size (self->open) >= MAX_OPEN)
    g_hash_table_foreach_remove (self->open, is_unused, NULL);
  OpenFile *file = g_new0 (OpenFile, 1);
  file->fd = fd;
  g_hash_table_insert (self->open, g_strdup (name), file);
  return file;
}

static OpenFile *
use_file (FileStorage *self, const char *name, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->mutex);
  OpenFile *file = g_hash_table_lookup (self->open, name);
  if (file == NULL)
    file = open_file (self, name, error);
  if (file)
    file->users++;
  return file;
}

static void
release_file (FileStorage *self, OpenFile *file)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->mutex);
  file->users--;
  if (file->gone)
    close_file (file);
}

static gboolean
read_part (BkStorage *storage, const char *name, uint64_t offset, void *out, size_t length, GError **error)
{
  FileStorage *self = (FileStorage *)storage;
  OpenFile *file = use_file (self, name, error);
  if (file == NULL)
    return FALSE;
  gboolean ok = bk_fsio_read_at (file->fd, name, out, length, offset, error);
  release_file (self, file);
  return ok;
}

static gboolean
remove_object (BkStorage *storage, const char *name, GError **error)
{
  FileStorage *self = (FileStorage *)storage;
  g_autofree char *path = path_of (self, name);
  if (!bk_fsio_remove (path, error))
    return FALSE;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->mutex);
  g_hash_table_remove (self->open, name);
  return TRUE;
}

/* --- folders --- */

/* FALSE: it cannot be looked at. One that went meanwhile is left out. */
static bool
list_item (GPtrArray *items, int folder, const char *name)
{
  struct stat st;
  if (name[0] == '.')
    return true;
  if (fstatat (folder, name, &st, 0) < 0)
    return errno == ENOENT;
  BkStorageItem *item = g_new0 (BkStorageItem, 1);
  item->name = g_strdup (name);
  item->is_folder = S_ISDIR (st.st_mode);
  item->size = S_ISREG (st.st_mode) ? (uint64_t)st.st_size : 0;
  g_ptr_array_add (items, item);
  return true;
}

/* Not by GDir, which does not tell an error from the end: what GC does not see of a list it takes for garbage. */
static bool
list_all (GPtrArray *items, DIR *dir)
{
  const struct dirent *entry;
  while (errno = 0, (entry = readdir (dir)) != NULL)
    if (!list_item (items, dirfd (dir), entry->d_name))
      return false;
  return errno == 0;
}

static GPtrArray *
list (BkStorage *storage, const char *folder, GError **error)
{
  g_autofree char *path = path_of ((FileStorage *)storage, folder);
  g_autoptr (GPtrArray) items = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_storage_item_free);
  DIR *dir = opendir (path);
  bool ok = dir && list_all (items, dir);
  int errsv = errno;
  if (dir)
    closedir (dir);
  if (ok)
    return g_steal_pointer (&items);
  bk_error_set_errno (error, errsv, "cannot read the folder '%s'", path);
  return NULL;
}

static bool
is_debris (const char *path, const char *name, int64_t before)
{
  struct stat st;
  return name[0] == '.' && lstat (path, &st) == 0 && S_ISREG (st.st_mode) &&
         (int64_t)st.st_mtim.tv_sec * G_USEC_PER_SEC + st.st_mtim.tv_nsec / 1000 < before;
}

static gboolean
tidy_folder (const char *folder, int64_t before, uint64_t *removed, GError **error)
{
  const char *name;
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  while (dir && (name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *path = g_build_filename (folder, name, NULL);
    if (name[0] != '.' && g_file_test (path, G_FILE_TEST_IS_DIR) && !g_file_test (path, G_FILE_TEST_IS_SYMLINK) &&
        !tidy_folder (path, before, removed, error))
      return FALSE;
    if (!is_debris (path, name, before))
      continue;
    if (!bk_fsio_remove (path, error))
      return FALSE;
    ++*removed;
  }
  return TRUE;
}

static gboolean
tidy (BkStorage *storage, int64_t before, uint64_t *removed, GError **error)
{
  return tidy_folder (((FileStorage *)storage)->root, before, removed, error);
}

/* --- drafts --- */

typedef struct {
  BkStorageDraft draft;
  char *path, *temporary; /* temporary NULL: published */
  int fd;
  uint64_t size;
  uint64_t begun; /* of that, what the kernel has begun to bring to the disk */
} FileDraft;

static void
draft_free (BkStorageDraft *draft)
{
  FileDraft *self = (FileDraft *)draft;
  g_autoptr (GError) error = NULL;
  if (self->fd >= 0)
    close (self->fd);
  if (self->temporary && !bk_fsio_remove (self->temporary, &error))
    g_debug ("%s", error->message); /* it is tidied up later */
  g_free (self->path);
  g_free (self->temporary);
  g_free (self);
}

/* So that the fsync at the end has little left to wait for. */
static void
write_behind (FileDraft *self)
{
  if (self->size - self->begun < WRITE_BEHIND)
    return;
  sync_file_range (self->fd, (off_t)self->begun, (off_t)(self->size - self->begun), SYNC_FILE_RANGE_WRITE);
  self->begun = self->size;
}

static gboolean
draft_append (BkStorageDraft *draft, const void *data, size_t length, GError **error)
{
  FileDraft *self = (FileDraft *)draft;
  if (!bk_fsio_write_at (self->fd, self->temporary, data, length, self->size, error))
    return FALSE;
  self->size += length;
  write_behind (self);
  return TRUE;
}

static gboolean
draft_read (BkStorageDraft *draft, uint64_t offset, void *out, size_t length, GError **error)
{
  FileDraft *self = (FileDraft *)draft;
  return bk_fsio_read_at (self->fd, self->path, out, length, offset, error);
}

static gboolean
draft_publish (BkStorageDraft *draft, GError **error)
{
  FileDraft *self = (FileDraft *)draft;
  if (!bk_fsio_sync_fd (self->fd, self->temporary, error) || !bk_fsio_rename (self->temporary, self->path, FALSE, error))
    return FALSE;
  g_clear_pointer (&self->temporary, g_free);
  return TRUE;
}

static BkStorageDraft *
draft_new (BkStorage *storage, const char *name, GError **error)
{
  static const BkStorageDraftOps ops = { draft_append, draft_read, draft_publish, draft_free };
  g_autofree char *path = path_of ((FileStorage *)storage, name);
  g_autofree char *folder = g_path_get_dirname (path), *base = g_path_get_basename (path);
  g_autofree char *temporary = g_strdup_printf ("%s/.%s.tmp", folder, base);
  if (!bk_fsio_create_file (temporary, error))
    return NULL;
  FileDraft *self = g_new0 (FileDraft, 1);
  self->draft.ops = &ops;
  self->path = g_steal_pointer (&path);
  self->temporary = g_steal_pointer (&temporary);
  self->fd = open (self->temporary, O_RDWR | O_CLOEXEC);
  if (self->fd >= 0)
    return &self->draft;
  bk_error_set_errno (error, errno, "cannot open '%s'", self->temporary);
  draft_free (&self->draft);
  return NULL;
}

/* --- the driver --- */

static void
storage_free (BkStorage *storage)
{
  FileStorage *self = (FileStorage *)storage;
  g_hash_table_unref (self->open);
  g_mutex_clear (&self->mutex);
  g_free (self->root);
  g_free (self);
}

BkStorage *
bk_file_storage_new (const char *root)
{
  static const BkStorageOps ops = { put, get, read_part, has, list, move, remove_object, tidy, draft_new, storage_free };
  FileStorage *self = g_new0 (FileStorage, 1);
  self->storage.ops = &ops;
  self->root = g_strdup (root);
  g_mutex_init (&self->mutex);
  self->open = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, close_file);
  return &self->storage;
}
