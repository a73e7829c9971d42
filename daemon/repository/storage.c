/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage.h"

void
bk_storage_free (BkStorage *storage)
{
  storage->ops->free (storage);
}

gboolean
bk_storage_put (BkStorage *storage, const char *name, const void *data, size_t length, bool durable, GError **error)
{
  return storage->ops->put (storage, name, data, length, durable, error);
}

gboolean
bk_storage_get (BkStorage *storage, const char *name, size_t limit, char **data, size_t *length, GError **error)
{
  return storage->ops->get (storage, name, limit, data, length, error);
}

gboolean
bk_storage_read (BkStorage *storage, const char *name, uint64_t offset, void *out, size_t length, GError **error)
{
  return storage->ops->read (storage, name, offset, out, length, error);
}

bool
bk_storage_has (BkStorage *storage, const char *name)
{
  return storage->ops->has (storage, name);
}

GPtrArray *
bk_storage_list (BkStorage *storage, const char *folder, GError **error)
{
  return storage->ops->list (storage, folder, error);
}

gboolean
bk_storage_move (BkStorage *storage, const char *from, const char *to, GError **error)
{
  return storage->ops->move (storage, from, to, error);
}

gboolean
bk_storage_remove (BkStorage *storage, const char *name, GError **error)
{
  return storage->ops->remove (storage, name, error);
}

gboolean
bk_storage_tidy (BkStorage *storage, int64_t before, uint64_t *removed, GError **error)
{
  return storage->ops->tidy (storage, before, removed, error);
}

BkStorageDraft *
bk_storage_draft (BkStorage *storage, const char *name, GError **error)
{
  return storage->ops->draft (storage, name, error);
}

gboolean
bk_storage_draft_append (BkStorageDraft *draft, const void *data, size_t length, GError **error)
{
  return draft->ops->append (draft, data, length, error);
}

gboolean
bk_storage_draft_read (BkStorageDraft *draft, uint64_t offset, void *out, size_t length, GError **error)
{
  return draft->ops->read (draft, offset, out, length, error);
}

gboolean
bk_storage_draft_publish (BkStorageDraft *draft, GError **error)
{
  return draft->ops->publish (draft, error);
}

void
bk_storage_draft_free (BkStorageDraft *draft)
{
  draft->ops->free (draft);
}

void
bk_storage_item_free (BkStorageItem *item)
{
  g_free (item->name);
  g_free (item);
}
