/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image.h"

#include "fsio.h"
#include "qemu-img.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

/* Local files are always given to qemu-img by their absolute path and with their format: "nbd:x" or "json:{}" is then
 * a file's name, and a raw disk into which a guest wrote a qcow2 header is still raw. */

#define CREATE_OPTIONS "compat=1.1,lazy_refcounts=off,cluster_size=65536"
#define ANSWER_LIMIT (1024 * 1024)

static char *
absolute (const char *path)
{
  return g_canonicalize_filename (path, NULL);
}

static gboolean
make_place (const char *path, bool force, GError **error)
{
  struct stat st;
  if (force && lstat (path, &st) == 0 && S_ISREG (st.st_mode) && !bk_fsio_remove (path, error))
    return FALSE;
  return bk_fsio_create_file (path, error);
}

static gboolean
create_qcow2 (const char *path, uint64_t size, const char *backing, GError **error)
{
  g_autofree char *size_text = g_strdup_printf ("%" PRIu64, size);
  const char *const plain[] = { "create", "-q", "-f", "qcow2", "-o", CREATE_OPTIONS, path, size_text, NULL };
  const char *const based[] = { "create", "-q",    "-u", "-f",    "qcow2", "-o",      CREATE_OPTIONS,
                                "-b",     backing, "-F", "qcow2", path,    size_text, NULL };
  return bk_qemu_img_run (backing != NULL ? based : plain, NULL, NULL, NULL, NULL, error);
}

/* To files that were made with mode 0600 before; qemu-img keeps that. */
static gboolean
fill_new (const char *path, const char *format, uint64_t size, const char *backing, GError **error)
{
  if (g_str_equal (format, "qcow2"))
    return create_qcow2 (path, size, backing, error);
  g_autofree char *size_text = g_strdup_printf ("%" PRIu64, size);
  const char *const arguments[] = { "create", "-q", "-f", "raw", path, size_text, NULL };
  return bk_qemu_img_run (arguments, NULL, NULL, NULL, NULL, error);
}

gboolean
bk_image_create (const char *path, const char *format, uint64_t size, const char *backing, bool force, GError **error)
{
  g_assert (backing == NULL || g_str_equal (format, "qcow2"));
  if (bk_output_kind (path) != BK_OUTPUT_FILE)
    return bk_output_check (path, format, size, force, error);
  g_autofree char *full = absolute (path);
  if (!make_place (full, force, error))
    return FALSE;
  if (fill_new (full, format, size, backing, error))
    return TRUE;
  (void)!bk_fsio_remove (full, NULL);
  return FALSE;
}

void
bk_image_info_free (BkImageInfo *info)
{
  if (info == NULL)
    return;
  g_free (info->format);
  g_free (info->backing);
  g_free (info);
}

static void
collect (const char *line, gpointer user_data)
{
  GString *text = user_data;
  if (text->len < ANSWER_LIMIT)
    g_string_append (text, line);
}

static json_object *
parse_answer (const GString *text, const char *path, GError **error)
{
  g_autoptr (json_object) json = bk_json_parse (text->str, text->len, error);
  if (json != NULL && json_object_is_type (json, json_type_object))
    return g_steal_pointer (&json);
  if (error != NULL)
    g_clear_error (error);
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "qemu-img gave no answer that can be understood about '%s'", path);
  return NULL;
}

static const char *
get_string (json_object *json, const char *name)
{
  json_object *member = json_object_object_get (json, name);
  return json_object_is_type (member, json_type_string) ? json_object_get_string (member) : NULL;
}

static uint64_t
get_size (json_object *json, const char *name)
{
  return (uint64_t)MAX (0, json_object_get_int64 (json_object_object_get (json, name)));
}

/* Names with a protocol ("nbd://", "json:") as they are, others relative to the folder of @path. */
static char *
resolve_backing (const char *path, const char *backing)
{
  if (backing == NULL)
    return NULL;
  if (backing[strcspn (backing, ":/")] == ':')
    return g_strdup (backing);
  g_autofree char *folder = g_path_get_dirname (path);
  return g_canonicalize_filename (backing, folder);
}

BkImageInfo *
bk_image_info (const char *path, const char *format, GError **error)
{
  g_autofree char *full = absolute (path);
  const char *const probing[] = { "info", "-U", "--output=json", full, NULL };
  const char *const given[] = { "info", "-U", "--output=json", "-f", format, full, NULL };
  g_autoptr (GString) text = g_string_new (NULL);
  if (!bk_qemu_img_run (format != NULL ? given : probing, collect, text, NULL, NULL, error))
    return NULL;
  g_autoptr (json_object) json = parse_answer (text, full, error);
  if (json == NULL)
    return NULL;
  BkImageInfo *info = g_new0 (BkImageInfo, 1);
  info->format = g_strdup (get_string (json, "format"));
  info->virtual_size = get_size (json, "virtual-size");
  info->bytes_stored = get_size (json, "actual-size");
  info->backing = resolve_backing (full, get_string (json, "backing-filename"));
  return info;
}

typedef struct {
  uint64_t data, zero;
  bool understood;
} Measure;

/* One element of the array that `map` writes: each is on a line of its own, so that the map of a huge disk need not
 * be held in memory. */
static void
measure_line (const char *line, gpointer user_data)
{
  Measure *measure = user_data;
  const char *begin = strchr (line, '{');
  const char *end = strrchr (line, '}');
  if (begin == NULL || end == NULL)
    return;
  g_autoptr (json_object) json = bk_json_parse (begin, (size_t)(end - begin) + 1, NULL);
  if (json == NULL) {
    measure->understood = false;
    return;
  }
  if (json_object_get_boolean (json_object_object_get (json, "data")))
    measure->data += get_size (json, "length");
  else if (json_object_get_boolean (json_object_object_get (json, "present")))
    measure->zero += get_size (json, "length");
}

/* "json:" name of @path (qcow2) without its backing file. */
static char *
single_layer (const char *path)
{
  g_autoptr (json_object) json = json_object_new_object ();
  json_object *file = json_object_new_object ();
  json_object_object_add (file, "driver", json_object_new_string ("file"));
  json_object_object_add (file, "filename", json_object_new_string (path));
  json_object_object_add (json, "driver", json_object_new_string ("qcow2"));
  json_object_object_add (json, "backing", NULL);
  json_object_object_add (json, "file", file);
  return g_strconcat ("json:", json_object_to_json_string (json), NULL);
}

gboolean
bk_image_measure (const char *path, uint64_t *data, uint64_t *zero, GError **error)
{
  g_autofree char *full = absolute (path);
  g_autofree char *layer = single_layer (full);
  const char *const arguments[] = { "map", "-U", "--output=json", layer, NULL };
  Measure measure = { 0, 0, true };
  if (!bk_qemu_img_run (arguments, measure_line, &measure, NULL, NULL, error))
    return FALSE;
  if (!measure.understood) {
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "qemu-img gave a map of '%s' that cannot be understood", full);
    return FALSE;
  }
  *data = measure.data;
  *zero = measure.zero;
  return TRUE;
}

/* What `check` says; *@json is NULL for formats that have nothing to check. */
static gboolean
check (const char *path, const char *format, json_object **json, GError **error)
{
  const char *const arguments[] = { "check", "-U", "--output=json", "-f", format, path, NULL };
  g_autoptr (GString) text = g_string_new (NULL);
  int status = 0;
  *json = NULL;
  if (!bk_qemu_img_run (arguments, collect, text, NULL, &status, error))
    return FALSE;
  if (status == 63)
    return TRUE;
  *json = parse_answer (text, path, error);
  return *json != NULL;
}

gboolean
bk_image_check (const char *path, const char *format, GError **error)
{
  g_autofree char *full = absolute (path);
  g_autoptr (json_object) json = NULL;
  if (!check (full, format, &json, error))
    return FALSE;
  uint64_t corruptions = get_size (json, "corruptions");
  uint64_t errors = get_size (json, "check-errors");
  if (corruptions == 0 && errors == 0)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT,
               "image '%s' is damaged: qemu-img check found %" PRIu64 " corruptions and %" PRIu64 " errors", full,
               corruptions, errors);
  return FALSE;
}

typedef struct {
  BkImageProgress func;
  gpointer user_data;
  uint64_t total;
  double begin, width; /* the part of the whole that this run of the program is */
} Progress;

/* "    (12.34/100%)" */
static void
progress_line (const char *line, gpointer user_data)
{
  const Progress *progress = user_data;
  const char *open = strchr (line, '(');
  if (open == NULL || strstr (open, "/100%") == NULL || progress->func == NULL)
    return;
  double fraction = CLAMP (g_ascii_strtod (open + 1, NULL) / 100, 0, 1);
  double whole = progress->begin + fraction * progress->width;
  progress->func ((uint64_t)(whole * (double)progress->total), progress->total, progress->user_data);
}

static gboolean
run_with_progress (GPtrArray *arguments, Progress *progress, GCancellable *cancellable, GError **error)
{
  g_ptr_array_add (arguments, NULL);
  return bk_qemu_img_run ((const char *const *)arguments->pdata, progress_line, progress, cancellable, NULL, error);
}

static GPtrArray *
words (const char *first, ...) G_GNUC_NULL_TERMINATED;

/* Owns copies. */
static GPtrArray *
words (const char *first, ...)
{
  GPtrArray *array = g_ptr_array_new_with_free_func (g_free);
  va_list more;
  va_start (more, first);
  for (const char *word = first; word != NULL; word = va_arg (more, const char *))
    g_ptr_array_add (array, g_strdup (word));
  va_end (more);
  return array;
}

static void
add (GPtrArray *array, const char *word)
{
  g_ptr_array_add (array, g_strdup (word));
}

static GPtrArray *
convert_words (const char *format, uint64_t speed)
{
  GPtrArray *array = words ("convert", "-p", "-f", "qcow2", "-O", format, NULL);
  if (speed > 0) {
    add (array, "-r");
    g_ptr_array_add (array, g_strdup_printf ("%" PRIu64, speed));
  }
  if (g_str_equal (format, "qcow2")) {
    add (array, "-o");
    add (array, CREATE_OPTIONS);
  }
  return array;
}

/* Makes @temporary by the program, with its content on stable storage; removes it on failure. */
static gboolean
make_by (GPtrArray *arguments, const char *temporary, Progress *progress, GCancellable *cancellable, GError **error)
{
  if (!bk_fsio_remove (temporary, error) || !bk_fsio_create_file (temporary, error))
    return FALSE;
  if (run_with_progress (arguments, progress, cancellable, error) && bk_fsio_sync (temporary, error))
    return TRUE;
  (void)!bk_fsio_remove (temporary, NULL);
  return FALSE;
}

static gboolean
put_in_place (const char *temporary, const char *path, bool replace, GError **error)
{
  if (bk_fsio_rename (temporary, path, replace, error))
    return TRUE;
  (void)!bk_fsio_remove (temporary, NULL);
  return FALSE;
}

static gboolean
convert_to_file (GPtrArray *arguments, const char *source, const char *output, const char *temporary, bool force,
                 Progress *progress, GCancellable *cancellable, GError **error)
{
  g_autofree char *full = absolute (output);
  g_autofree char *full_temporary = absolute (temporary);
  add (arguments, source);
  add (arguments, full_temporary);
  return make_by (arguments, full_temporary, progress, cancellable, error) &&
         put_in_place (full_temporary, full, force, error);
}

/* Without --target-is-zero, convert writes zeroes where the source is zero: a device has old content. Out of order
 * (-W), as there is no file to fragment. */
static gboolean
convert_to_device (GPtrArray *arguments, const char *source, const char *output, Progress *progress,
                   GCancellable *cancellable, GError **error)
{
  bool device = bk_output_kind (output) == BK_OUTPUT_DEVICE;
  g_autofree char *target = device ? absolute (output) : g_strdup (output);
  add (arguments, "-n");
  add (arguments, "-W");
  add (arguments, "-t");
  add (arguments, device ? "none" : "writeback"); /* convert's default, unsafe, never flushes */
  add (arguments, source);
  add (arguments, target);
  return run_with_progress (arguments, progress, cancellable, error) && (!device || bk_fsio_sync (target, error));
}

gboolean
bk_image_convert (const char *source, const char *output, const char *temporary, const char *format, bool force,
                  uint64_t speed, BkImageProgress progress, gpointer user_data, GCancellable *cancellable,
                  GError **error)
{
  g_autofree char *full_source = absolute (source);
  g_autoptr (BkImageInfo) info = bk_image_info (full_source, "qcow2", error);
  if (info == NULL || !bk_output_check (output, format, info->virtual_size, force, error))
    return FALSE;
  Progress state = { progress, user_data, info->virtual_size, 0, 1 };
  g_autoptr (GPtrArray) arguments = convert_words (format, speed);
  if (bk_output_kind (output) == BK_OUTPUT_FILE)
    return convert_to_file (arguments, full_source, output, temporary, force, &state, cancellable, error);
  return convert_to_device (arguments, full_source, output, &state, cancellable, error);
}

/* An image that was written compressed shall not grow by being moved. */
static gboolean
is_compressed (const char *path, bool *compressed, GError **error)
{
  g_autoptr (json_object) json = NULL;
  if (path == NULL || *compressed)
    return TRUE;
  if (!check (path, "qcow2", &json, error))
    return FALSE;
  *compressed = get_size (json, "compressed-clusters") > 0;
  return TRUE;
}

/* @path without what is below it, still on its backing file @old; or all in one, with @old NULL. */
static gboolean
copy_for_rebase (const char *path, const char *temporary, const char *old, bool compress, Progress *progress,
                 GCancellable *cancellable, GError **error)
{
  g_autoptr (GPtrArray) arguments = convert_words ("qcow2", 0);
  if (compress)
    add (arguments, "-c");
  if (old != NULL) {
    add (arguments, "-B");
    add (arguments, old);
    add (arguments, "-F");
    add (arguments, "qcow2");
  }
  add (arguments, path);
  add (arguments, temporary);
  return make_by (arguments, temporary, progress, cancellable, error);
}

/* What qemu-img's options know as a name: a comma is written twice. */
static char *
escape_commas (const char *path)
{
  g_auto (GStrv) parts = g_strsplit (path, ",", -1);
  return g_strjoinv (",,", parts);
}

/* Safe mode: copies what differs between the backing files. Zeroes found on the way become zero clusters
 * (detect-zeroes); without that, an increment in which a file system was trimmed would grow by all of it. */
static gboolean
rebase_in_place (const char *path, const char *backing, Progress *progress, GCancellable *cancellable, GError **error)
{
  g_autofree char *name = escape_commas (path);
  g_autofree char *image =
      g_strconcat ("driver=qcow2,detect-zeroes=on,file.driver=file,file.filename=", name, NULL);
  g_autoptr (GPtrArray) arguments = words ("rebase", "-p", "-F", "qcow2", "-b", backing, "--image-opts", image, NULL);
  return run_with_progress (arguments, progress, cancellable, error) && bk_fsio_sync (path, error);
}

/* Trust, but look. */
static gboolean
verify_rebased (const char *path, const char *backing, uint64_t size, GError **error)
{
  g_autoptr (BkImageInfo) info = bk_image_info (path, "qcow2", error);
  if (info == NULL || !bk_image_check (path, "qcow2", error))
    return FALSE;
  g_autofree char *wanted = resolve_backing (path, backing);
  if (g_strcmp0 (info->backing, wanted) == 0 && info->virtual_size == size)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "qemu-img made '%s' with backing file '%s' where '%s' was wanted", path,
               info->backing ? info->backing : "(none)", wanted ? wanted : "(none)");
  return FALSE;
}

static char *
rebase_name (const char *path)
{
  g_autofree char *folder = g_path_get_dirname (path);
  g_autofree char *name = g_path_get_basename (path);
  return g_strdup_printf ("%s/.%s.rebase", folder, name);
}

/* Not in place: `qemu-img rebase` writes the new header before the tables of what it copied are flushed, so that a
 * crash at its end shows other content. A copy also costs no reader its image, as no lock is taken. */
gboolean
bk_image_rebase (const char *path, const char *backing, BkImageProgress progress, gpointer user_data,
                 GCancellable *cancellable, GError **error)
{
  g_autofree char *full = absolute (path);
  g_autofree char *temporary = rebase_name (full);
  g_autoptr (BkImageInfo) info = bk_image_info (full, "qcow2", error);
  if (info == NULL)
    return FALSE;
  bool flat = backing == NULL;
  bool compressed = false;
  if (!is_compressed (full, &compressed, error) || !is_compressed (info->backing, &compressed, error))
    return FALSE;
  Progress copying = { progress, user_data, info->virtual_size, 0, flat ? 1 : 0.5 };
  if (!copy_for_rebase (full, temporary, flat ? NULL : info->backing, compressed, &copying, cancellable, error))
    return FALSE;
  Progress rebasing = { progress, user_data, info->virtual_size, 0.5, 0.5 };
  if ((flat || rebase_in_place (temporary, backing, &rebasing, cancellable, error)) &&
      verify_rebased (temporary, backing, info->virtual_size, error))
    return put_in_place (temporary, full, true, error);
  (void)!bk_fsio_remove (temporary, NULL);
  return FALSE;
}

void
bk_image_pause (GCancellable *cancellable, bool pause)
{
  bk_qemu_img_pause (cancellable, pause);
}
