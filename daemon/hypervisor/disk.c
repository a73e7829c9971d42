/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "disk.h"

#include <string.h>

void
bk_bitmap_free (BkBitmap *bitmap)
{
  if (bitmap == NULL)
    return;
  g_free (bitmap->name);
  g_free (bitmap);
}

void
bk_disk_free (BkDisk *disk)
{
  if (disk == NULL)
    return;
  g_free (disk->name);
  g_strfreev (disk->aliases);
  g_free (disk->qdev);
  g_free (disk->root);
  g_free (disk->node);
  g_free (disk->format);
  g_free (disk->file);
  g_free (disk->path);
  g_free (disk->iothread);
  g_free (disk->why_not);
  g_free (disk->untracked);
  g_free (disk->in_use);
  g_free (disk->blocked);
  g_free (disk->no_access);
  g_free (disk->no_pull);
  g_clear_pointer (&disk->bitmaps, g_ptr_array_unref);
  g_free (disk);
}

const BkBitmap *
bk_disk_find_bitmap (const BkDisk *disk, const char *name)
{
  for (guint i = 0; disk->bitmaps && i < disk->bitmaps->len; i++) {
    const BkBitmap *bitmap = g_ptr_array_index (disk->bitmaps, i);
    if (strcmp (bitmap->name, name) == 0)
      return bitmap;
  }
  return NULL;
}

static const char peripheral[] = "/machine/peripheral/";

char *
bk_disk_qdev_path (const char *qdev)
{
  return *qdev == '/' ? g_strdup (qdev) : g_strconcat (peripheral, qdev, NULL);
}

char *
bk_disk_qdev_id (const char *qdev)
{
  if (*qdev == '\0')
    return NULL;
  if (*qdev != '/')
    return g_strdup (qdev);
  if (!g_str_has_prefix (qdev, peripheral))
    return NULL;
  const char *id = qdev + strlen (peripheral);
  size_t length = strcspn (id, "/");
  return length > 0 ? g_strndup (id, length) : NULL;
}

/* What a name may mean, best first: the first kind that has any match decides. */
static bool
is_named (const BkDisk *disk, const char *name)
{
  g_autofree char *id = bk_disk_qdev_id (disk->qdev);
  return strcmp (disk->name, name) == 0 || g_strcmp0 (id, name) == 0;
}

static bool
has_qdev (const BkDisk *disk, const char *name)
{
  return strcmp (disk->qdev, name) == 0;
}

/* The drive ID and node names: QEMU keeps both in one name space. */
static bool
has_alias (const BkDisk *disk, const char *name)
{
  return (disk->aliases && g_strv_contains ((const char *const *)disk->aliases, name)) ||
         g_strcmp0 (disk->root, name) == 0 || g_strcmp0 (disk->node, name) == 0;
}

static char *
names_of (GPtrArray *disks)
{
  g_autoptr (GString) names = g_string_new (NULL);
  for (guint i = 0; i < disks->len; i++) {
    const BkDisk *disk = g_ptr_array_index (disks, i);
    g_string_append_printf (names, "%s'%s'", i > 0 ? ", " : "", disk->name);
  }
  return g_string_free (g_steal_pointer (&names), FALSE);
}

static GPtrArray *
matches (GPtrArray *disks, const char *name, bool (*matches_one) (const BkDisk *, const char *))
{
  GPtrArray *found = g_ptr_array_new ();
  for (guint i = 0; i < disks->len; i++)
    if (matches_one (g_ptr_array_index (disks, i), name))
      g_ptr_array_add (found, g_ptr_array_index (disks, i));
  return found;
}

const BkDisk *
bk_disk_resolve (GPtrArray *disks, const char *name, GError **error)
{
  static bool (*const kinds[]) (const BkDisk *, const char *) = { is_named, has_qdev, has_alias };
  for (size_t i = 0; i < G_N_ELEMENTS (kinds) && *name != '\0'; i++) {
    g_autoptr (GPtrArray) found = matches (disks, name, kinds[i]);
    if (found->len == 1)
      return g_ptr_array_index (found, 0);
    if (found->len == 0)
      continue;
    g_autofree char *names = names_of (found);
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' may mean any of the disks %s; give one of these names", name,
                 names);
    return NULL;
  }
  g_autofree char *names = names_of (disks);
  if (disks->len == 0)
    g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "no disk '%s'; the VM has no disks", name);
  else
    g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "no disk '%s'; the VM has %s", name, names);
  return NULL;
}

bool
bk_disk_is_default (const BkDisk *disk)
{
  return !disk->removable && !disk->empty && !disk->read_only;
}
