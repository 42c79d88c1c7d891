/* The parts of the federation in one process that a whole run does not show: the queue of events,
 * made-up networks, what is refused. */
#include <jansson.h>
#include <string.h>

#include "common/model/model.h"
#include "sim/federation/event_queue.h"
#include "sim/federation/in_process.h"
#include "tests/testing.h"

static void test_events_come_by_time_and_then_in_the_order_of_their_coming(void **state)
{
    (void)state;
    static const int64_t at[] = {5, 3, 5, 1, 3, 3, 9, 1};
    static const uint32_t expected[] = {3, 7, 1, 4, 5, 0, 2, 6};
    struct pf_event_queue queue = {0};
    assert_true(pf_event_queue_next_at(&queue) == INT64_MAX);
    for (uint32_t i = 0; i < PF_ARRAY_LENGTH(at); i++)
        assert_int_equal(
            pf_event_queue_push(&queue, (struct pf_event){.at = at[i], .player = i}, NULL), PF_OK);
    for (size_t i = 0; i < PF_ARRAY_LENGTH(at); i++) {
        assert_true(pf_event_queue_next_at(&queue) == at[expected[i]]);
        assert_int_equal(pf_event_queue_pop(&queue).player, expected[i]);
    }
    assert_int_equal(queue.n, 0);
    pf_event_queue_finish(&queue);
}

static void test_a_frame_lives_as_long_as_somebody_is_to_get_it(void **state)
{
    (void)state;
    struct pf_event_queue queue = {0};
    struct pf_frame *frame = pf_frame_create((const uint8_t *)"hello", 5);
    assert_non_null(frame);
    frame->references = 3;
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(
            pf_event_queue_push(&queue, (struct pf_event){.at = i, .frame = frame}, NULL), PF_OK);
    assert_int_equal(queue.frame_bytes, 15);
    pf_frame_release(pf_event_queue_pop(&queue).frame);
    assert_int_equal(queue.frame_bytes, 10);
    assert_int_equal(frame->references, 2);
    assert_memory_equal(frame->bytes, "hello", 5);
    pf_event_queue_finish(&queue); /* the others; a leak shows with sanitizers */
}

static void test_networks_have_about_the_parameters_asked_for(void **state)
{
    (void)state;
    static const size_t dimensions[] = {14, 100, 1000, 12345, 100000, 1000000};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(dimensions); i++) {
        struct pf_network network;
        struct pf_model *model = NULL;
        assert_int_equal(pf_in_process_network(dimensions[i], &network, NULL), PF_OK);
        assert_int_equal(pf_model_create(&network, NULL, &model, NULL), PF_OK);
        assert_true(model->n_parameters <= dimensions[i]);
        assert_true((double)model->n_parameters >= 0.9 * (double)dimensions[i]);
        pf_model_destroy(model);
    }
    struct pf_network network;
    struct pf_error err = {0};
    assert_int_equal(pf_in_process_network(1, &network, &err), PF_INVALID);
    assert_non_null(strstr(err.text, "--dimension"));
}

static void small_run(struct pf_in_process_config *config)
{
    pf_in_process_config_default(4, config);
    config->n_threads = 1;
    config->coordinator.min_cohort = 4;
    config->coordinator.quorum = 3;
    config->participant.policy.max_corrupt = config->coordinator.corrupt;
    assert_int_equal(pf_in_process_network(200, &config->network, NULL), PF_OK);
}

static void test_a_configuration_that_cannot_be_meant_is_refused(void **state)
{
    (void)state;
    struct pf_in_process_config config;
    struct pf_in_process_result result;
    struct pf_error err = {0};
    small_run(&config);
    config.n_participants = 0;
    assert_int_equal(pf_in_process_run(&config, NULL, &result, &err), PF_INVALID);
    small_run(&config);
    config.n_participants = PF_MAX_IN_PROCESS_PARTICIPANTS + 1;
    assert_int_equal(pf_in_process_run(&config, NULL, &result, &err), PF_INVALID);
    small_run(&config);
    config.training_max_ms = 1;
    assert_int_equal(pf_in_process_run(&config, NULL, &result, &err), PF_INVALID);
    small_run(&config);
    config.coordinator.quorum = 5;
    assert_int_equal(pf_in_process_run(&config, NULL, &result, &err), PF_INVALID);
    assert_non_null(strstr(err.text, "quorum"));
}

static void test_a_run_reports_what_it_did(void **state)
{
    (void)state;
    struct pf_in_process_config config;
    struct pf_in_process_result result;
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer text = {0};
    small_run(&config);
    assert_int_equal(pf_in_process_run(&config, NULL, &result, NULL), PF_OK);
    assert_true(result.success);
    assert_int_equal(result.sums_verified, 1);
    assert_int_equal(result.updates_counted, 4);
    assert_true(result.up_max >= result.up_mean && result.up_mean > 0);
    assert_int_equal(pf_in_process_json(&config, &result, &text, NULL), PF_OK);
    json_t *json = json_loadb((const char *)text.bytes, text.length, 0, NULL);
    assert_non_null(json);
    json_t *rounds = json_object_get(json, "rounds");
    assert_int_equal(json_integer_value(json_object_get(rounds, "completed")), 1);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events_come_by_time_and_then_in_the_order_of_their_coming),
        cmocka_unit_test(test_a_frame_lives_as_long_as_somebody_is_to_get_it),
        cmocka_unit_test(test_networks_have_about_the_parameters_asked_for),
        cmocka_unit_test(test_a_configuration_that_cannot_be_meant_is_refused),
        cmocka_unit_test(test_a_run_reports_what_it_did),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
