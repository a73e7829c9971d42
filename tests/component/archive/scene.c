/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *
run (GPtrArray *argv)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *errors = NULL;
  char *output = NULL;
  int status = -1;
  g_ptr_array_add (argv, NULL);
  g_spawn_sync (NULL, (char **)argv->pdata, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &output, &errors, &status, &error);
  bk_assert_no_error (error);
  ck_assert_msg (status == 0, "%s: %s%s", (const char *)argv->pdata[0], output, errors);
  return output;
}

char *
scene_run (const char *program, ...)
{
  g_autoptr (GPtrArray) argv = g_ptr_array_new ();
  va_list more;
  va_start (more, program);
  for (const char *word = program; word != NULL; word = va_arg (more, const char *))
    g_ptr_array_add (argv, (gpointer)word);
  va_end (more);
  return run (argv);
}

static void
assert_same (const char *path, const guint8 *have, size_t length, const GByteArray *wanted)
{
  ck_assert_msg (length == wanted->len, "'%s' has %zu bytes, not %u", path, length, wanted->len);
  for (size_t i = 0; i < length; i += 4096) {
    size_t n = MIN (4096, length - i);
    for (size_t j = i; memcmp (have + i, wanted->data + i, n) != 0; j++)
      ck_assert_msg (have[j] == wanted->data[j], "'%s' at %zu: %u, not %u", path, j, have[j], wanted->data[j]);
  }
}

void
scene_assert_content (const char *path, const char *format, const GByteArray *wanted)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *folder = g_path_get_dirname (path);
  g_autofree char *raw = g_build_filename (folder, ".content.raw", NULL);
  g_free (scene_run ("qemu-img", "convert", "-f", format, "-O", "raw", path, raw, NULL));
  g_autoptr (GMappedFile) file = g_mapped_file_new (raw, FALSE, &error);
  bk_assert_no_error (error);
  ck_assert_int_eq (remove (raw), 0);
  assert_same (path, (const guint8 *)g_mapped_file_get_contents (file), g_mapped_file_get_length (file), wanted);
}

static void
write_model (GByteArray *model, char kind, int pattern, uint64_t offset, uint64_t length)
{
  ck_assert_uint_le (offset + length, model->len);
  memset (model->data + offset, kind == 'P' ? pattern : 0, length);
}

static char *
write_one (GByteArray *model, const char *write)
{
  g_auto (GStrv) words = g_strsplit (write, " ", 3);
  g_autoptr (GError) error = NULL;
  uint64_t offset = 0, length = 0;
  char kind = g_ascii_isdigit (words[0][0]) ? 'P' : words[0][0];
  ck_assert (bk_size_parse (words[1], &offset, &error) && bk_size_parse (words[2], &length, &error));
  write_model (model, kind, atoi (words[0]), offset, length);
  if (kind == 'P')
    return g_strdup_printf ("write -P %s %s %s", words[0], words[1], words[2]);
  return g_strdup_printf ("%s %s %s", kind == 'z' ? "write -z" : "discard", words[1], words[2]);
}

void
scene_write (const char *image, GByteArray *model, const char *const *writes)
{
  static const char *const program[] = { "qemu-io", "-t", "unsafe", "-d", "unmap", "-f", "qcow2" };
  g_autoptr (GPtrArray) argv = g_ptr_array_new_with_free_func (g_free);
  if (*writes == NULL)
    return;
  for (size_t i = 0; i < G_N_ELEMENTS (program); i++)
    g_ptr_array_add (argv, g_strdup (program[i]));
  for (; *writes != NULL; writes++) {
    g_ptr_array_add (argv, g_strdup ("-c"));
    g_ptr_array_add (argv, write_one (model, *writes));
  }
  g_ptr_array_add (argv, g_strdup (image));
  g_free (run (argv));
}

static BkBackupInfo *
make_manifest (const char *id, const char *parent, uint64_t size)
{
  static int64_t second = 1000;
  BkBackupInfo *backup = g_new0 (BkBackupInfo, 1);
  BkBackupDisk *disk = g_new0 (BkBackupDisk, 1);
  backup->vm = g_strdup ("web01");
  backup->id = g_strdup (id);
  backup->state = g_strdup ("completed");
  backup->point_in_time = second++ * G_USEC_PER_SEC;
  backup->disks = g_ptr_array_new ();
  disk->name = g_strdup ("vda");
  disk->level = g_strdup (parent ? "incremental" : "full");
  disk->state = g_strdup ("completed");
  disk->format = g_strdup ("qcow2");
  disk->parent = g_strdup (parent);
  disk->size = size;
  g_ptr_array_add (backup->disks, disk);
  return backup;
}

static void
grow (GByteArray *model, uint64_t size)
{
  guint before = model->len;
  g_byte_array_set_size (model, (guint)size);
  if (size > before)
    memset (model->data + before, 0, size - before);
}

BkBackupInfo *
scene_prepare (BkArchive *archive, const char *id, const char *parent, uint64_t size, GByteArray *model,
               const char *const *writes)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *image = bk_archive_image_path (archive, "web01", id, "vda");
  g_autofree char *backing = parent ? bk_archive_backing_name (parent, "vda") : NULL;
  bool ok = bk_archive_begin (archive, "web01", id, &error) &&
            bk_image_create (image, "qcow2", size, backing, false, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  grow (model, size);
  scene_write (image, model, writes);
  return make_manifest (id, parent, size);
}

void
scene_backup (BkArchive *archive, const char *id, const char *parent, uint64_t size, GByteArray *model,
              const char *const *writes)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkBackupInfo) manifest = scene_prepare (archive, id, parent, size, model, writes);
  bool ok = bk_archive_commit (archive, manifest, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
}

GByteArray *
scene_copy (const GByteArray *model)
{
  GByteArray *copy = g_byte_array_sized_new (model->len);
  return g_byte_array_append (copy, model->data, model->len);
}

BkArchive *
scene_archive (void)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *folder = bk_suite_folder ();
  g_autofree char *path = g_build_filename (folder, "repo, with: comma", NULL);
  BkArchive *archive = bk_archive_open (path, TRUE, &error);
  bk_assert_no_error (error);
  return archive;
}
