/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "restore-job.h"

#include "cancel.h"
#include "copies.h"
#include "define-domain.h"
#include "disk-progress.h"
#include "fsio.h"
#include "image.h"
#include "output-sink.h"
#include "repository.h"

#include <string.h>
#include <sys/stat.h>

/* How long the worker sleeps at most: pause and speed take effect within it. */
#define WAIT_MS 500

typedef struct {
  char *name;
  char *source;
  char *output;
  char *temporary;
  bool is_new; /* nothing was at the output before */
  BkDiskProgress progress;
} RestoreDisk;

typedef struct {
  BkRestoreRequest *request;
  BkStore *store; /* NULL: a target of its own */
  char *vm, *backup;
  char *format;
  GPtrArray *disks; /* RestoreDisk */
  GPtrArray *outputs; /* of the disks, NULL-terminated */
  BkLibvirtLink *link; /* where a domain is made of it, or NULL */
} Restore;

static void
restore_disk_free (gpointer data)
{
  RestoreDisk *disk = data;
  g_free (disk->name);
  g_free (disk->source);
  g_free (disk->output);
  g_free (disk->temporary);
  g_free (disk);
}

static void
restore_free (gpointer data)
{
  Restore *restore = data;
  bk_restore_request_free (restore->request);
  g_clear_pointer (&restore->store, bk_store_unref);
  g_free (restore->vm);
  g_free (restore->backup);
  g_free (restore->format);
  g_ptr_array_unref (restore->disks);
  g_ptr_array_unref (restore->outputs);
  g_clear_pointer (&restore->link, bk_libvirt_link_unref);
  g_free (restore);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Restore, restore_free)

static const BkBackupDisk *
find_disk (const BkBackupInfo *backup, const char *name, GError **error)
{
  g_autoptr (GString) known = g_string_new (NULL);
  for (unsigned i = 0; i < backup->disks->len; i++) {
    const BkBackupDisk *disk = backup->disks->pdata[i];
    if (strcmp (disk->name, name) == 0)
      return disk;
    g_string_append_printf (known, "%s%s", known->len ? ", " : "", disk->name);
  }
  g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "backup '%s' has no disk '%s'; it has %s", backup->id, name, known->str);
  return NULL;
}

/* What cannot give a whole disk is refused, never restored in part. */
static gboolean
check_whole (const Restore *restore, const BkBackupInfo *backup, const BkBackupDisk *disk, GError **error)
{
  bool in_packs = restore->store && bk_store_is_dedup (restore->store);
  if (strcmp (disk->state, "completed") != 0 || (disk->file == NULL && !in_packs)) {
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "disk '%s' failed in backup '%s' (%s); restore it from another one", disk->name,
                 backup->id, disk->error ? disk->error->message : "no image");
    return FALSE;
  }
  if (backup->repository != NULL)
    return TRUE;
  if (strcmp (disk->level, "full") != 0 || strstr (disk->file, "://") != NULL) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID,
                 "disk '%s' of backup '%s' is no whole image in a repository; what was written is at '%s'", disk->name, backup->id, disk->file);
    return FALSE;
  }
  return TRUE;
}

static char *
output_for (const BkRestoreRequest *request, const BkBackupDisk *disk, const char *format, bool several)
{
  g_autofree char *component = bk_path_component_escape (disk->name);
  return several ? g_strdup_printf ("%s/%s.%s", request->output, component, format) : g_strdup (request->output);
}

static gboolean
add_disk (Restore *restore, const BkBackupInfo *backup, const BkBackupDisk *source, bool several, GError **error)
{
  if (!check_whole (restore, backup, source, error))
    return FALSE;
  RestoreDisk *disk = g_new0 (RestoreDisk, 1);
  g_ptr_array_add (restore->disks, disk);
  disk->name = g_strdup (source->name);
  disk->source = g_strdup (source->file);
  disk->progress.size = source->size;
  disk->output = output_for (restore->request, source, restore->format, several);
  disk->temporary = g_strconcat (disk->output, BK_IMAGE_TEMPORARY_SUFFIX, NULL);
  g_ptr_array_add (restore->outputs, disk->output);
  /* The folder of several disks is made when the job runs; until then there is nothing to check in it. */
  if (several && !g_file_test (restore->request->output, G_FILE_TEST_EXISTS))
    return TRUE;
  return bk_output_check (disk->output, restore->format, disk->progress.size, restore->request->force, error);
}

static bool
has_disk (const Restore *restore, const char *name)
{
  for (unsigned i = 0; i < restore->disks->len; i++)
    if (strcmp (((const RestoreDisk *)restore->disks->pdata[i])->name, name) == 0)
      return true;
  return false;
}

static gboolean
add_disks (Restore *restore, const BkBackupInfo *backup, GError **error)
{
  GStrv names = restore->request->disks;
  if (names && names[0]) {
    bool several = restore->link || names[1] != NULL;
    for (size_t i = 0; names[i]; i++) {
      if (has_disk (restore, names[i])) {
        g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/disks/%zu: disk '%s' is named twice", i, names[i]);
        return FALSE;
      }
      const BkBackupDisk *disk = find_disk (backup, names[i], error);
      if (disk == NULL || !add_disk (restore, backup, disk, several, error))
        return FALSE;
    }
    return TRUE;
  }
  bool several = restore->link || backup->disks->len > 1;
  for (unsigned i = 0; i < backup->disks->len; i++)
    if (!add_disk (restore, backup, backup->disks->pdata[i], several, error))
      return FALSE;
  return TRUE;
}

static gboolean
check_output_folder (const BkRestoreRequest *request, bool several, GError **error)
{
  struct stat st;
  if (!several)
    return TRUE;
  if (strstr (request->output, "://") != NULL) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/output: an NBD server takes one disk; name it with --disk");
    return FALSE;
  }
  if (stat (request->output, &st) == 0 && !S_ISDIR (st.st_mode)) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/output: '%s' is no folder, and there is more than one disk; name one with --disk", request->output);
    return FALSE;
  }
  return TRUE;
}

gpointer
bk_restore_job_data_new (const BkRestoreRequest *request, const BkBackupInfo *backup, BkStore *store, BkLibvirtLink *link, GError **error)
{
  g_autoptr (Restore) restore = g_new0 (Restore, 1);
  restore->link = link;
  restore->request = bk_struct_copy (&bk_restore_request_struct, request);
  restore->store = store ? bk_store_ref (store) : NULL;
  restore->vm = g_strdup (backup->vm);
  restore->backup = g_strdup (backup->id);
  restore->disks = g_ptr_array_new_with_free_func (restore_disk_free);
  restore->outputs = g_ptr_array_new ();
  restore->format = g_strdup (request->format ? request->format : link || g_str_has_suffix (request->output, ".qcow2") ? "qcow2" : "raw");
  if (!g_path_is_absolute (request->output) && strstr (request->output, "://") == NULL) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/output: '%s' is not an absolute path", request->output);
    return NULL;
  }
  bool several = link || (request->disks && request->disks[0] ? request->disks[1] != NULL : backup->disks->len > 1);
  if (link && store == NULL) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/define: backup '%s' is in no repository, and without the definition of its VM", backup->id);
    return NULL;
  }
  if (!check_output_folder (request, several, error) || !add_disks (restore, backup, error))
    return NULL;
  g_ptr_array_add (restore->outputs, NULL);
  return g_steal_pointer (&restore);
}

const char *const *
bk_restore_job_outputs (gpointer data)
{
  return (const char *const *)((Restore *)data)->outputs->pdata;
}

GPtrArray *
bk_restore_job_disks (gpointer data)
{
  Restore *restore = data;
  GPtrArray *rows = g_ptr_array_new ();
  for (unsigned i = 0; i < restore->disks->len; i++) {
    const RestoreDisk *disk = restore->disks->pdata[i];
    BkJobDisk *row = bk_disk_progress_row (&disk->progress, disk->name);
    row->target = g_strdup (disk->output);
    g_ptr_array_add (rows, row);
  }
  return rows;
}

/* --- the work --- */

static BkDefineDomain
definition_of (const Restore *restore)
{
  return (BkDefineDomain){ restore->link, restore->store, restore->vm, restore->backup, restore->request, restore->format };
}

static gboolean
work_prepare (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  Restore *restore = data;
  BkDefineDomain define = definition_of (restore);
  if (restore->link && !bk_define_domain_check (&define, error))
    return FALSE;
  if (restore->link && !bk_define_domain_make_folder (&define, error))
    return FALSE;
  if (restore->disks->len > 1 && !bk_fsio_make_folder (restore->request->output, error))
    return FALSE;
  for (unsigned i = 0; i < restore->disks->len; i++) {
    RestoreDisk *disk = restore->disks->pdata[i];
    if (!bk_output_check (disk->output, restore->format, disk->progress.size, restore->request->force, error))
      return FALSE;
    disk->is_new = bk_output_kind (disk->output) == BK_OUTPUT_FILE && !g_file_test (disk->output, G_FILE_TEST_EXISTS);
  }
  return TRUE;
}

static void
on_progress (uint64_t done, uint64_t total G_GNUC_UNUSED, gpointer user_data)
{
  bk_disk_progress_tell (user_data, done);
}

/* --- images: one after the other, by qemu-img --- */

static gboolean
work_convert (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable, GError **error)
{
  Restore *restore = data;
  for (unsigned i = 0; i < restore->disks->len; i++) {
    RestoreDisk *disk = restore->disks->pdata[i];
    bk_disk_progress_set (&disk->progress, BK_DISK_RUNNING);
    if (!bk_image_convert (disk->source, disk->output, disk->temporary, restore->format, restore->request->force,
                           restore->request->speed, on_progress, &disk->progress, cancellable, error)) {
      g_prefix_error (error, "disk %s: ", disk->name);
      return FALSE;
    }
    bk_disk_progress_set (&disk->progress, BK_DISK_COMPLETED);
  }
  return TRUE;
}

/* --- out of packs: several at once --- */

static gboolean
begin_copy (Restore *restore, BkCopies *copies, RestoreDisk *disk, GError **error)
{
  g_autoptr (BkReader) reader = bk_repository_open_disk (bk_store_repository (restore->store), restore->vm, restore->backup, disk->name, NULL, error);
  BkSink *sink = reader ? bk_output_sink_new (disk->output, disk->temporary, restore->format, disk->progress.size, restore->request->force, error) : NULL;
  if (sink == NULL) {
    g_prefix_error (error, "disk %s: ", disk->name);
    return FALSE;
  }
  bk_copies_add (copies, g_steal_pointer (&reader), sink);
  bk_disk_progress_set (&disk->progress, BK_DISK_RUNNING);
  return TRUE;
}

static RestoreDisk *
disk_at (const Restore *restore, unsigned index)
{
  return restore->disks->pdata[index];
}

/* The first that fails ends the others. */
static gboolean
wait_for_one (Restore *restore, BkCopies *copies, GError **error)
{
  int number = bk_copies_wait (copies, WAIT_MS, error);
  for (unsigned i = 0; i < restore->disks->len; i++)
    bk_disk_progress_tell (&disk_at (restore, i)->progress, bk_copies_counters (copies, i).transferred);
  if (number < 0)
    return TRUE;
  RestoreDisk *disk = disk_at (restore, (unsigned)number);
  if (*error) {
    g_prefix_error (error, "disk %s: ", disk->name);
    return FALSE;
  }
  bk_disk_progress_set (&disk->progress, BK_DISK_COMPLETED);
  return TRUE;
}

static gboolean
work_copy (BkJob *job, gpointer data, GCancellable *cancellable, GError **error)
{
  Restore *restore = data;
  g_autoptr (GError) failure = NULL;
  g_autoptr (BkCopies) copies = bk_copies_new (bk_job_info (job)->speed);
  for (unsigned i = 0; i < restore->disks->len; i++)
    if (!begin_copy (restore, copies, restore->disks->pdata[i], error))
      return FALSE;
  while (bk_copies_is_busy (copies) && failure == NULL) {
    bk_copies_obey (copies, job);
    if (!bk_cancel_check (cancellable, &failure) || !wait_for_one (restore, copies, &failure))
      break;
  }
  if (failure)
    g_propagate_error (error, g_steal_pointer (&failure));
  return error == NULL || *error == NULL;
}

/* --- both --- */

/* All disks, or none: those that are complete go, too, where there was nothing before. */
static gboolean
undo_copy (BkJob *job G_GNUC_UNUSED, gpointer data, GError **error)
{
  Restore *restore = data;
  for (unsigned i = 0; i < restore->disks->len; i++) {
    const RestoreDisk *disk = restore->disks->pdata[i];
    bool complete = bk_disk_progress_is_completed (&disk->progress);
    if (bk_output_kind (disk->output) == BK_OUTPUT_FILE && !bk_fsio_remove (disk->temporary, error))
      return FALSE;
    if (complete && disk->is_new && !bk_fsio_remove (disk->output, error))
      return FALSE;
  }
  return TRUE;
}

static void
progress (BkJob *job, gpointer data)
{
  const Restore *restore = data;
  for (unsigned i = 0; i < restore->disks->len; i++)
    bk_disk_progress_show (&disk_at (restore, i)->progress, bk_job_info (job), i);
}

static gboolean
record_copy (BkJob *job, gpointer data, GError **error G_GNUC_UNUSED)
{
  progress (job, data);
  return TRUE;
}

static gboolean
work_define (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  Restore *restore = data;
  BkDefineDomain define = definition_of (restore);
  g_autoptr (GHashTable) outputs = g_hash_table_new (g_str_hash, g_str_equal);
  for (unsigned i = 0; i < restore->disks->len; i++) {
    const RestoreDisk *disk = restore->disks->pdata[i];
    g_hash_table_insert (outputs, disk->name, disk->output);
  }
  return restore->link == NULL || bk_define_domain (&define, outputs, error);
}

static void
carry_out (BkJob *job, gpointer data G_GNUC_UNUSED, BkVerb verb, uint64_t value G_GNUC_UNUSED)
{
  bk_image_pause (bk_job_cancellable (job), verb == BK_VERB_PAUSE);
}

static const BkStep image_steps[] = {
  { "prepare", "preparing", work_prepare, NULL, NULL },
  { "copy", "running", work_convert, record_copy, undo_copy },
  { "finish", "finalizing", work_define, NULL, NULL },
  { NULL },
};

static const BkStep disk_steps[] = {
  { "prepare", "preparing", work_prepare, NULL, NULL },
  { "copy", "running", work_copy, record_copy, undo_copy },
  { "finish", "finalizing", work_define, NULL, NULL },
  { NULL },
};

static const BkJobKind image_kind = {
  .name = "restore",
  .steps = image_steps,
  .restart = true,
  .verbs = 1 << BK_VERB_CANCEL | 1 << BK_VERB_PAUSE | 1 << BK_VERB_RESUME,
  .progress = progress,
  .verb = carry_out,
  .free = restore_free,
};

static const BkJobKind disk_kind = {
  .name = "restore",
  .steps = disk_steps,
  .restart = true,
  .verbs = 1 << BK_VERB_CANCEL | 1 << BK_VERB_PAUSE | 1 << BK_VERB_RESUME | 1 << BK_VERB_SPEED,
  .progress = progress,
  .free = restore_free,
};

const BkJobKind *
bk_restore_job_kind (gpointer data)
{
  const Restore *restore = data;
  return restore->store && bk_store_is_dedup (restore->store) ? &disk_kind : &image_kind;
}
