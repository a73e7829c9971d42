/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "recorded-disks.h"

#include "bk-json-table.h"

static const BkField bk_disk_fields[] = {
  STRING (BkDisk, name, BK_FIELD_REQUIRED),
  STRV (BkDisk, aliases, 0),
  STRING (BkDisk, qdev, BK_FIELD_REQUIRED),
  STRING (BkDisk, root, 0),
  STRING (BkDisk, node, 0),
  STRING (BkDisk, format, 0),
  STRING (BkDisk, file, 0),
  STRING (BkDisk, path, 0),
  UINT64 (BkDisk, size, 0),
  BOOL (BkDisk, removable, 0),
  BOOL (BkDisk, empty, 0),
  BOOL (BkDisk, read_only, 0),
  BOOL (BkDisk, has_backing, 0),
  END,
};
static STRUCT (BkDisk, bk_disk, "recorded disk");

static const BkField bk_recorded_fields[] = {
  TIME (BkRecordedDisks, recorded_at, BK_FIELD_REQUIRED),
  STRING (BkRecordedDisks, process, BK_FIELD_OMIT_IF_EMPTY),
  ARRAY (BkRecordedDisks, disks, bk_disk_struct, BK_FIELD_REQUIRED),
  END,
};
static STRUCT (BkRecordedDisks, bk_recorded, "recorded disks");

void
bk_recorded_disks_free (BkRecordedDisks *recorded)
{
  if (recorded == NULL)
    return;
  for (unsigned i = 0; recorded->disks && i < recorded->disks->len; i++)
    bk_disk_free (recorded->disks->pdata[i]);
  g_clear_pointer (&recorded->disks, g_ptr_array_unref);
  g_free (recorded->process);
  g_free (recorded);
}

json_object *
bk_recorded_disks_write (GPtrArray *disks, const char *process, int64_t recorded_at)
{
  BkRecordedDisks recorded = { recorded_at, (char *)process, disks };
  return bk_struct_to_json (&bk_recorded_struct, &recorded);
}

static void
fill_in (BkDisk *disk)
{
  char **const texts[] = { &disk->root, &disk->node, &disk->format, &disk->file };
  for (size_t i = 0; i < G_N_ELEMENTS (texts); i++)
    if (*texts[i] == NULL)
      *texts[i] = g_strdup ("");
  disk->bitmaps = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_bitmap_free);
}

BkRecordedDisks *
bk_recorded_disks_read (json_object *json, GError **error)
{
  BkRecordedDisks *recorded = bk_struct_from_json_lax (&bk_recorded_struct, json, error);
  for (unsigned i = 0; recorded && recorded->disks && i < recorded->disks->len; i++)
    fill_in (recorded->disks->pdata[i]);
  if (recorded && recorded->disks == NULL)
    recorded->disks = g_ptr_array_new ();
  return recorded;
}

static bool
is_same (json_object *one, json_object *other, const char *name)
{
  json_object *first = NULL, *second = NULL;
  json_object_object_get_ex (one, name, &first);
  json_object_object_get_ex (other, name, &second);
  return json_object_equal (first, second);
}

bool
bk_recorded_disks_equal (json_object *one, json_object *other)
{
  return one && other && is_same (one, other, "disks") && is_same (one, other, "process");
}
