/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "recorded-disks.h"
#include "suite.h"

#include <string.h>

static GPtrArray *
new_disks (void)
{
  static const char *const aliases[] = { "drive0", "libvirt-1-format", NULL };
  GPtrArray *disks = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_disk_free);
  BkDisk *disk = g_new0 (BkDisk, 1);
  disk->name = g_strdup ("vda");
  disk->aliases = g_strdupv ((GStrv)aliases);
  disk->qdev = g_strdup ("/machine/peripheral/vda/virtio-backend");
  disk->root = g_strdup ("throttle0");
  disk->node = g_strdup ("disk-vda");
  disk->format = g_strdup ("qcow2");
  disk->file = g_strdup ("images/a.qcow2");
  disk->path = g_strdup ("/vm/images/a.qcow2");
  disk->size = 7;
  disk->has_backing = disk->read_only = true;
  g_ptr_array_add (disks, disk);
  BkDisk *drive = g_new0 (BkDisk, 1);
  drive->name = g_strdup ("cd");
  drive->qdev = g_strdup ("cd");
  drive->removable = drive->empty = true;
  g_ptr_array_add (disks, drive);
  return disks;
}

START_TEST (keeps_what_cannot_be_read_from_the_image)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) disks = new_disks ();
  g_autoptr (json_object) json = bk_recorded_disks_write (disks, "42 4711", 1795402200000000);
  g_autoptr (BkRecordedDisks) read = bk_recorded_disks_read (json, &error);
  bk_assert_no_error (error);
  ck_assert_int_eq (read->recorded_at, 1795402200000000);
  ck_assert_uint_eq (read->disks->len, 2);
  ck_assert_str_eq (read->process, "42 4711");
  const BkDisk *disk = read->disks->pdata[0], *drive = read->disks->pdata[1];
  ck_assert_str_eq (disk->aliases[1], "libvirt-1-format");
  ck_assert_str_eq (disk->qdev, "/machine/peripheral/vda/virtio-backend");
  ck_assert_str_eq (disk->root, "throttle0");
  ck_assert_str_eq (disk->node, "disk-vda");
  ck_assert_str_eq (disk->format, "qcow2");
  ck_assert_str_eq (disk->file, "images/a.qcow2");
  ck_assert_str_eq (disk->path, "/vm/images/a.qcow2");
  ck_assert (disk->has_backing && disk->read_only && !disk->removable && !disk->empty);
  ck_assert_uint_eq (disk->bitmaps->len, 0);
  ck_assert (drive->removable && drive->empty && drive->path == NULL);
  ck_assert_str_eq (drive->format, "");
}
END_TEST

START_TEST (tells_whether_disks_are_the_same)
{
  g_autoptr (GPtrArray) disks = new_disks ();
  g_autoptr (json_object) one = bk_recorded_disks_write (disks, "1 2", 1000000);
  g_autoptr (json_object) later = bk_recorded_disks_write (disks, "1 2", 2000000);
  g_autoptr (json_object) restarted = bk_recorded_disks_write (disks, NULL, 1000000);
  ((BkDisk *)disks->pdata[0])->size = 8;
  g_autoptr (json_object) other = bk_recorded_disks_write (disks, "1 2", 1000000);
  ck_assert (bk_recorded_disks_equal (one, later));
  ck_assert (!bk_recorded_disks_equal (one, restarted));
  ck_assert (!bk_recorded_disks_equal (one, other));
  ck_assert (!bk_recorded_disks_equal (NULL, one));
}
END_TEST

START_TEST (refuses_what_is_no_record)
{
  g_autoptr (GError) error = NULL;
  static const char *const texts[] = { "{}", "[]", "{\"recorded_at\":\"2026-11-25T10:00:00Z\",\"disks\":[{\"name\":\"vda\"}]}" };
  for (size_t i = 0; i < G_N_ELEMENTS (texts); i++) {
    g_autoptr (json_object) json = bk_json_parse (texts[i], strlen (texts[i]), NULL);
    ck_assert_ptr_null (bk_recorded_disks_read (json, &error));
    bk_assert_error (error, BK_ERROR_INVALID);
  }
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { keeps_what_cannot_be_read_from_the_image, tells_whether_disks_are_the_same, refuses_what_is_no_record, NULL };
  return bk_suite_run ("recorded disks", tests);
}
