/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "queue-private.h"

#include "repository.h"

#include <string.h>

#define DEFAULT_MAX_RUNNING 16
#define DEFAULT_RESERVE (1ull << 30)
#define DEFAULT_FREEZE_SECONDS 10
#define DEFAULT_HOOK_SECONDS 60
/* Between two attempts to undo a job in a VM that is there: QEMU may have been busy, or refused for once. */
#define SETTLE_FIRST 2
#define SETTLE_LAST 300

static void
entry_free (gpointer data)
{
  BkQueueEntry *entry = data;
  bk_job_unref (entry->job);
  bk_claims_free (entry->claims);
  g_free (entry);
}

/* --- who is in the way --- */

gboolean
bk_queue_check_jobs (BkQueue *queue, const BkClaims *claims, GError **error)
{
  for (unsigned i = 0; i < queue->entries->len; i++) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    const char *key = bk_job_is_over (entry->job) ? NULL : bk_claims_refused (claims, entry->claims);
    if (key == NULL)
      continue;
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "%s is in use by job '%s' (%s, %s); wait for it or cancel it", key,
                 bk_job_id (entry->job), bk_job_info (entry->job)->kind, bk_job_info (entry->job)->state);
    return FALSE;
  }
  for (unsigned i = 0; i < queue->short_ops->len; i++) {
    const char *key = bk_claims_refused (claims, queue->short_ops->pdata[i]);
    if (key == NULL)
      continue;
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "%s is in use by a checkpoint being made or deleted; try again", key);
    return FALSE;
  }
  return TRUE;
}

gboolean
bk_queue_check_claims (BkQueue *queue, const BkClaims *claims, GError **error)
{
  if (!bk_queue_check_jobs (queue, claims, error))
    return FALSE;
  for (unsigned i = 0; i < queue->holds->len; i++) {
    const BkQueueHold *hold = queue->holds->pdata[i];
    const char *key = bk_claims_refused (claims, hold->claims);
    if (key == NULL)
      continue;
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "%s is in use: %s", key, hold->why);
    return FALSE;
  }
  return TRUE;
}

/* A job waits for older ones that it must not run beside, and for an undo on its VM that is under way. */
static BkJob *
in_the_way (BkQueue *queue, unsigned at)
{
  const BkQueueEntry *entry = queue->entries->pdata[at];
  for (unsigned i = 0; i < queue->entries->len; i++) {
    const BkQueueEntry *other = queue->entries->pdata[i];
    bool busy = bk_job_is_over (other->job) ? bk_job_is_working (other->job) : i < at || bk_job_info (other->job)->started_at != 0;
    if (i != at && busy && (bk_claims_must_wait (entry->claims, other->claims) || bk_claims_refused (entry->claims, other->claims)))
      return other->job;
  }
  return NULL;
}

static void
tell_why_it_waits (BkJob *job, BkJob *other)
{
  g_autofree char *why = other ? g_strdup_printf ("waits for job '%s' (%s)", bk_job_id (other), bk_job_info (other)->kind)
                               : g_strdup ("waits for one of the many running jobs to end");
  bk_job_set_waiting (job, why);
}

static bool
is_queued (const BkQueueEntry *entry)
{
  return strcmp (bk_job_info (entry->job)->state, "queued") == 0;
}

void
bk_queue_schedule (BkQueue *queue)
{
  unsigned running = 0;
  for (unsigned i = 0; i < queue->entries->len; i++) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    running += !is_queued (entry) && !bk_job_is_over (entry->job);
  }
  for (unsigned i = 0; i < queue->entries->len && !queue->stopping; i++) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    BkJob *other = is_queued (entry) ? in_the_way (queue, i) : NULL;
    if (!is_queued (entry))
      continue;
    if (other || running >= queue->max_running) {
      tell_why_it_waits (entry->job, other);
      continue;
    }
    running++;
    bk_job_start (entry->job);
  }
}

static gboolean
reap (gpointer user_data)
{
  BkQueue *queue = user_data;
  queue->pending--;
  for (unsigned i = queue->entries->len; i-- > 0;) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    if (bk_job_is_over (entry->job) && bk_job_is_settled (entry->job))
      g_ptr_array_remove_index (queue->entries, i);
  }
  bk_queue_schedule (queue);
  return G_SOURCE_REMOVE;
}

bool
bk_queue_entry_is_unsettled (const BkQueueEntry *entry)
{
  return bk_job_is_over (entry->job) && !bk_job_is_settled (entry->job);
}

static bool
is_reachable (BkQueue *queue, const char *name)
{
  g_autoptr (BkVm) vm = name ? bk_vm_registry_get (queue->vms, name, NULL) : NULL;
  return vm && bk_backend_link (bk_vm_backend (vm), NULL, NULL) == BK_LINK_READY;
}

static gboolean
settle_again (gpointer user_data)
{
  BkQueue *queue = user_data;
  queue->settle_timer = 0;
  for (unsigned i = 0; i < queue->entries->len; i++) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    if (bk_queue_entry_is_unsettled (entry) && is_reachable (queue, bk_job_info (entry->job)->vm))
      bk_job_settle (entry->job);
  }
  return G_SOURCE_REMOVE;
}

/* A VM that is away makes itself heard when it comes back. */
static void
settle_later (BkQueue *queue, BkJob *job)
{
  if (queue->stopping || queue->settle_timer || !is_reachable (queue, bk_job_info (job)->vm))
    return;
  queue->settle_timer = g_timeout_add_seconds (queue->settle_seconds, settle_again, queue);
  queue->settle_seconds = MIN (queue->settle_seconds * 2, SETTLE_LAST);
}

static void
replace_deleted (BkQueue *queue, const BkJobInfo *info)
{
  if (strcmp (info->kind, "delete") == 0 && strcmp (info->state, "completed") == 0)
    bk_repository_registry_replace_backup (queue->repositories, info->vm, info->backup_id);
}

/* Called from within the job: it is let go of later. */
static void
on_ended (BkJob *job, gpointer user_data)
{
  BkQueue *queue = user_data;
  queue->pending++;
  g_idle_add (reap, queue);
  replace_deleted (queue, bk_job_info (job));
  if (bk_job_is_settled (job))
    queue->settle_seconds = SETTLE_FIRST;
  else
    settle_later (queue, job);
}

static BkQueueEntry *
find_entry (BkQueue *queue, const char *id)
{
  for (unsigned i = 0; i < queue->entries->len; i++) {
    BkQueueEntry *entry = queue->entries->pdata[i];
    if (strcmp (bk_job_id (entry->job), id) == 0)
      return entry;
  }
  return NULL;
}

bool
bk_queue_entry_is_of_vm (const BkQueueEntry *entry, const char *vm)
{
  return g_strcmp0 (bk_job_info (entry->job)->vm, vm) == 0;
}

/* --- life --- */

static void
on_vm (BkVm *vm, BkLink link, const char *event, gpointer user_data)
{
  BkQueue *queue = user_data;
  bool there = link == BK_LINK_READY || g_strcmp0 (event, BK_VM_SHUT_OFF) == 0;
  for (unsigned i = 0; there && i < queue->entries->len; i++) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    if (bk_queue_entry_is_of_vm (entry, bk_vm_name (vm)) && bk_job_is_over (entry->job))
      bk_job_settle (entry->job);
  }
  if (there && (event == NULL || link == BK_LINK_DOWN))
    bk_queue_settle_checkpoints (queue, bk_vm_name (vm));
}

BkQueue *
bk_queue_new (BkCatalog *catalog, BkVmRegistry *vms, BkRepositoryRegistry *repositories, BkEventRing *events,
              const BkQueueOptions *options)
{
  BkQueue *queue = g_new0 (BkQueue, 1);
  queue->catalog = catalog;
  queue->vms = vms;
  queue->repositories = repositories;
  queue->events = events;
  queue->max_running = options->max_running ? options->max_running : DEFAULT_MAX_RUNNING;
  queue->scratch = g_strdup (options->scratch);
  queue->exports = g_strdup (options->exports);
  queue->hooks_dir = g_strdup (options->hooks_dir);
  queue->hook_seconds = options->hook_seconds ? options->hook_seconds : DEFAULT_HOOK_SECONDS;
  queue->freeze_limit_ms = (options->freeze_seconds ? options->freeze_seconds : DEFAULT_FREEZE_SECONDS) * 1000;
  queue->scratch_reserve = options->scratch_reserve ? options->scratch_reserve : DEFAULT_RESERVE;
  queue->trash_seconds = options->trash_seconds ? options->trash_seconds : BK_REPOSITORY_GRACE_SECONDS;
  queue->entries = g_ptr_array_new_with_free_func (entry_free);
  queue->short_ops = g_ptr_array_new ();
  queue->holds = g_ptr_array_new ();
  queue->settle_seconds = SETTLE_FIRST;
  bk_vm_registry_set_notify (vms, on_vm, queue);
  return queue;
}

static bool
anybody_works (BkQueue *queue)
{
  for (unsigned i = 0; i < queue->entries->len; i++)
    if (bk_job_is_working (((const BkQueueEntry *)queue->entries->pdata[i])->job))
      return true;
  return queue->pending > 0;
}

void
bk_queue_free (BkQueue *queue)
{
  queue->stopping = true;
  bk_vm_registry_set_notify (queue->vms, NULL, NULL);
  g_clear_handle_id (&queue->settle_timer, g_source_remove);
  for (unsigned i = 0; i < queue->entries->len; i++)
    bk_job_detach (((const BkQueueEntry *)queue->entries->pdata[i])->job);
  while (anybody_works (queue))
    g_main_context_iteration (NULL, TRUE);
  g_ptr_array_unref (queue->entries);
  g_ptr_array_unref (queue->short_ops);
  g_assert (queue->holds->len == 0);
  g_ptr_array_unref (queue->holds);
  g_free (queue->scratch);
  g_free (queue->exports);
  g_free (queue->hooks_dir);
  g_free (queue);
}

BkJob *
bk_queue_add (BkQueue *queue, BkJobRecord *record, const BkJobKind *kind, gpointer data, BkClaims *claims)
{
  BkQueueEntry *entry = g_new0 (BkQueueEntry, 1);
  entry->job = bk_job_new (queue->catalog, queue->events, record, kind, data, on_ended, queue);
  entry->claims = claims;
  g_ptr_array_add (queue->entries, entry);
  return entry->job;
}

/* --- what there is --- */

/* The live job, or NULL; for a job that is over, the catalog has it. */
static BkJobInfo *
live_snapshot (BkQueue *queue, const char *id)
{
  BkQueueEntry *entry = find_entry (queue, id);
  return entry ? bk_job_snapshot (entry->job) : NULL;
}

BkJobInfo *
bk_queue_get_job (BkQueue *queue, const char *id, GError **error)
{
  g_autoptr (BkJobRecord) record = bk_catalog_get_job (queue->catalog, id, error);
  if (record == NULL)
    return NULL;
  BkJobInfo *live = live_snapshot (queue, record->info->id);
  return live ? live : g_steal_pointer (&record->info);
}

static bool
matches (const BkJobInfo *info, uint64_t number, const BkJobFilter *filter)
{
  return (filter->vm == NULL || g_strcmp0 (info->vm, filter->vm) == 0) &&
         (filter->kind == NULL || strcmp (info->kind, filter->kind) == 0) &&
         (filter->state == NULL || strcmp (info->state, filter->state) == 0) && (filter->before == 0 || number < filter->before);
}

/* Unfinished jobs are all in memory, and newer than their rows. */
static GPtrArray *
list_unfinished (BkQueue *queue, const BkJobFilter *filter)
{
  GPtrArray *jobs = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_job_info_free);
  for (unsigned i = queue->entries->len; i-- > 0;) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    if (matches (bk_job_info (entry->job), bk_job_number (entry->job), filter))
      g_ptr_array_add (jobs, bk_job_snapshot (entry->job));
  }
  return jobs;
}

GPtrArray *
bk_queue_list_jobs (BkQueue *queue, const BkJobFilter *filter, uint64_t *next_before, GError **error)
{
  *next_before = 0;
  if (filter->state && !g_strv_contains (bk_job_states, filter->state)) {
    g_autofree char *words = g_strjoinv (", ", (char **)bk_job_states);
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' is no state of a job; there are %s", filter->state, words);
    return NULL;
  }
  if (filter->state && !bk_job_state_is_end (filter->state))
    return list_unfinished (queue, filter);
  g_autoptr (GPtrArray) records = bk_catalog_list_jobs (queue->catalog, filter, error);
  if (records == NULL)
    return NULL;
  GPtrArray *jobs = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_job_info_free);
  for (unsigned i = 0; i < records->len; i++) {
    BkJobRecord *record = records->pdata[i];
    BkJobInfo *live = live_snapshot (queue, record->info->id);
    g_ptr_array_add (jobs, live ? live : g_steal_pointer (&record->info));
  }
  unsigned limit = filter->limit ? filter->limit : 100;
  if (records->len == limit)
    *next_before = ((const BkJobRecord *)records->pdata[records->len - 1])->number;
  return jobs;
}

static BkJobInfo *
do_verb (BkQueue *queue, const char *id, BkVerb verb, uint64_t value, GError **error)
{
  g_autoptr (BkJobInfo) known = bk_queue_get_job (queue, id, error);
  if (known == NULL)
    return NULL;
  BkQueueEntry *entry = find_entry (queue, known->id);
  if (entry == NULL || bk_job_is_over (entry->job)) {
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "job '%s' has ended (%s): %s is not possible", known->id, known->state, bk_verb_name (verb));
    return NULL;
  }
  g_autoptr (BkJob) job = bk_job_ref (entry->job);
  return bk_job_verb (job, verb, value, error) ? bk_job_snapshot (job) : NULL;
}

BkJobInfo *
bk_queue_cancel (BkQueue *queue, const char *id, GError **error)
{
  return do_verb (queue, id, BK_VERB_CANCEL, 0, error);
}

BkJobInfo *
bk_queue_pause (BkQueue *queue, const char *id, GError **error)
{
  return do_verb (queue, id, BK_VERB_PAUSE, 0, error);
}

BkJobInfo *
bk_queue_resume (BkQueue *queue, const char *id, GError **error)
{
  return do_verb (queue, id, BK_VERB_RESUME, 0, error);
}

BkJobInfo *
bk_queue_set_speed (BkQueue *queue, const char *id, uint64_t speed, GError **error)
{
  return do_verb (queue, id, BK_VERB_SPEED, speed, error);
}

GPtrArray *
bk_queue_list_backups (BkQueue *queue, const char *vm, GError **error)
{
  return bk_catalog_list_backups (queue->catalog, vm, NULL, error);
}

BkBackupInfo *
bk_queue_get_backup (BkQueue *queue, const char *id, GError **error)
{
  return bk_catalog_get_backup (queue->catalog, id, error);
}

/* --- what needs to know of jobs --- */

GStrv
bk_queue_jobs_of_vm (BkQueue *queue, const char *vm)
{
  g_autoptr (GStrvBuilder) ids = g_strv_builder_new ();
  for (unsigned i = 0; i < queue->entries->len; i++) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    if (bk_queue_entry_is_of_vm (entry, vm) && !bk_job_is_over (entry->job))
      g_strv_builder_add (ids, bk_job_id (entry->job));
  }
  return g_strv_builder_end (ids);
}

gboolean
bk_queue_remove_vm (BkQueue *queue, const char *name, GError **error)
{
  g_auto (GStrv) jobs = bk_queue_jobs_of_vm (queue, name);
  if (jobs[0]) {
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "VM '%s' has the unfinished job '%s'; wait for it or cancel it", name, jobs[0]);
    return FALSE;
  }
  return bk_vm_registry_remove (queue->vms, name, error);
}

gboolean
bk_queue_remove_repository (BkQueue *queue, const char *name, GError **error)
{
  for (unsigned i = 0; i < queue->entries->len; i++) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    if (bk_job_is_over (entry->job) || g_strcmp0 (bk_job_info (entry->job)->repository, name) != 0)
      continue;
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "repository '%s' is in use by job '%s'; wait for it or cancel it", name, bk_job_id (entry->job));
    return FALSE;
  }
  return bk_repository_registry_remove (queue->repositories, name, error);
}
