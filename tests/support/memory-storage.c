/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "memory-storage.h"

#include <string.h>

typedef struct {
  BkStorage storage;
  GMutex mutex;
  GHashTable *objects; /* GBytes by name */
} MemoryStorage;

typedef struct {
  BkStorageDraft draft;
  MemoryStorage *storage;
  char *name;
  GByteArray *data;
} MemoryDraft;

static gboolean
fail (GError **error, BkErrorCode code, const char *name)
{
  g_set_error (error, BK_ERROR, code, "object '%s'", name);
  return FALSE;
}

static GBytes *
find (MemoryStorage *self, const char *name)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->mutex);
  GBytes *bytes = g_hash_table_lookup (self->objects, name);
  return bytes ? g_bytes_ref (bytes) : NULL;
}

static gboolean
put (BkStorage *storage, const char *name, const void *data, size_t length, bool durable G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
  MemoryStorage *self = (MemoryStorage *)storage;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->mutex);
  g_hash_table_insert (self->objects, g_strdup (name), g_bytes_new (data, length));
  return TRUE;
}

static gboolean
get (BkStorage *storage, const char *name, size_t limit, char **data, size_t *length, GError **error)
{
  g_autoptr (GBytes) bytes = find ((MemoryStorage *)storage, name);
  if (bytes == NULL)
    return fail (error, BK_ERROR_NOT_FOUND, name);
  const char *content = g_bytes_get_data (bytes, length);
  if (*length > limit)
    return fail (error, BK_ERROR_CORRUPT, name);
  *data = g_strndup ("", *length);
  if (*length)
    memcpy (*data, content, *length);
  return TRUE;
}

static gboolean
read_part (BkStorage *storage, const char *name, uint64_t offset, void *out, size_t length, GError **error)
{
  g_autoptr (GBytes) bytes = find ((MemoryStorage *)storage, name);
  if (bytes == NULL)
    return fail (error, BK_ERROR_NOT_FOUND, name);
  size_t size;
  const char *content = g_bytes_get_data (bytes, &size);
  if (offset > size || length > size - offset)
    return fail (error, BK_ERROR_CORRUPT, name);
  if (length)
    memcpy (out, content + offset, length);
  return TRUE;
}

static bool
has (BkStorage *storage, const char *name)
{
  g_autoptr (GBytes) bytes = find ((MemoryStorage *)storage, name);
  return bytes != NULL;
}

static void
add_item (GPtrArray *items, const char *rest, size_t size)
{
  const char *slash = strchr (rest, '/');
  g_autofree char *name = slash ? g_strndup (rest, (size_t)(slash - rest)) : g_strdup (rest);
  for (unsigned i = 0; i < items->len; i++)
    if (strcmp (((const BkStorageItem *)items->pdata[i])->name, name) == 0)
      return;
  BkStorageItem *item = g_new0 (BkStorageItem, 1);
  item->name = g_steal_pointer (&name);
  item->is_folder = slash != NULL;
  item->size = slash ? 0 : size;
  g_ptr_array_add (items, item);
}

static GPtrArray *
list (BkStorage *storage, const char *folder, GError **error G_GNUC_UNUSED)
{
  MemoryStorage *self = (MemoryStorage *)storage;
  GHashTableIter iter;
  gpointer name, bytes;
  g_autofree char *prefix = g_strconcat (folder, "/", NULL);
  GPtrArray *items = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_storage_item_free);
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->mutex);
  g_hash_table_iter_init (&iter, self->objects);
  while (g_hash_table_iter_next (&iter, &name, &bytes))
    if (g_str_has_prefix (name, prefix))
      add_item (items, (const char *)name + strlen (prefix), g_bytes_get_size (bytes));
  return items;
}

/* Under a name that is not taken. */
static gboolean
put_new (MemoryStorage *self, const char *name, GBytes *bytes, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->mutex);
  if (g_hash_table_contains (self->objects, name))
    return fail (error, BK_ERROR_CONFLICT, name);
  g_hash_table_insert (self->objects, g_strdup (name), g_bytes_ref (bytes));
  return TRUE;
}

static gboolean
remove_object (BkStorage *storage, const char *name, GError **error G_GNUC_UNUSED)
{
  MemoryStorage *self = (MemoryStorage *)storage;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->mutex);
  g_hash_table_remove (self->objects, name);
  return TRUE;
}

static gboolean
move (BkStorage *storage, const char *from, const char *to, GError **error)
{
  g_autoptr (GBytes) bytes = find ((MemoryStorage *)storage, from);
  if (bytes == NULL)
    return fail (error, BK_ERROR_NOT_FOUND, from);
  return put_new ((MemoryStorage *)storage, to, bytes, error) && remove_object (storage, from, error);
}

static gboolean
tidy (BkStorage *storage G_GNUC_UNUSED, int64_t before G_GNUC_UNUSED, uint64_t *removed G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
  return TRUE;
}

static gboolean
draft_append (BkStorageDraft *draft, const void *data, size_t length, GError **error G_GNUC_UNUSED)
{
  g_byte_array_append (((MemoryDraft *)draft)->data, data, (unsigned)length);
  return TRUE;
}

static gboolean
draft_read (BkStorageDraft *draft, uint64_t offset, void *out, size_t length, GError **error)
{
  MemoryDraft *self = (MemoryDraft *)draft;
  if (offset > self->data->len || length > self->data->len - offset)
    return fail (error, BK_ERROR_CORRUPT, self->name);
  memcpy (out, self->data->data + offset, length);
  return TRUE;
}

static gboolean
draft_publish (BkStorageDraft *draft, GError **error)
{
  MemoryDraft *self = (MemoryDraft *)draft;
  g_autoptr (GBytes) bytes = g_bytes_new (self->data->data, self->data->len);
  return put_new (self->storage, self->name, bytes, error);
}

static void
draft_free (BkStorageDraft *draft)
{
  MemoryDraft *self = (MemoryDraft *)draft;
  g_byte_array_unref (self->data);
  g_free (self->name);
  g_free (self);
}

static BkStorageDraft *
draft_new (BkStorage *storage, const char *name, GError **error G_GNUC_UNUSED)
{
  static const BkStorageDraftOps ops = { draft_append, draft_read, draft_publish, draft_free };
  MemoryDraft *self = g_new0 (MemoryDraft, 1);
  self->draft.ops = &ops;
  self->storage = (MemoryStorage *)storage;
  self->name = g_strdup (name);
  self->data = g_byte_array_new ();
  return &self->draft;
}

static void
storage_free (BkStorage *storage)
{
  MemoryStorage *self = (MemoryStorage *)storage;
  g_hash_table_unref (self->objects);
  g_mutex_clear (&self->mutex);
  g_free (self);
}

BkStorage *
memory_storage_new (void)
{
  static const BkStorageOps ops = { put, get, read_part, has, list, move, remove_object, tidy, draft_new, storage_free };
  MemoryStorage *self = g_new0 (MemoryStorage, 1);
  self->storage.ops = &ops;
  g_mutex_init (&self->mutex);
  self->objects = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_bytes_unref);
  return &self->storage;
}
