/* SPDX-License-Identifier: Apache-2.0 */
/* Pendulum: cosine, sine, rad/s in; torque in N m out. TIM2 counts the encoder, TIM3 drives the
 * motor, TIM6 gives the period. */
#include "control.h"

#include "main.h" /* CubeMX: the HAL, the handles' types, Error_Handler */
#include "ql_policy.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#define COUNTS_PER_TURN 4096.0f
#define TURN_RAD 6.2831853f
#define PERIOD_S 0.05f /* TIM6; the contract's step_hz is 20 */
#define MOST_TORQUE 2.0f
#define PWM_PERIOD 999.0f

extern TIM_HandleTypeDef htim2;
extern TIM_HandleTypeDef htim3;
extern TIM_HandleTypeDef htim6;

static volatile bool is_due;
static int32_t last_count;

void control_start(void)
{
    if (ql_policy_check() != QL_OK) { /* compiler flags or rounding mode: never act on other numbers
                                         than those that were judged */
        Error_Handler();
    }
    HAL_TIM_Encoder_Start(&htim2, TIM_CHANNEL_ALL);
    HAL_TIM_PWM_Start(&htim3, TIM_CHANNEL_1);
    HAL_TIM_Base_Start_IT(&htim6);
}

/* The interrupt only takes note: deciding takes longer than an interrupt should, and the policy is
 * not re-entrant. */
void HAL_TIM_PeriodElapsedCallback(TIM_HandleTypeDef *timer)
{
    if (timer == &htim6) {
        is_due = true;
    }
}

void control_poll(void)
{
    if (!is_due) {
        return;
    }
    is_due = false;
    const int32_t count = (int32_t)__HAL_TIM_GET_COUNTER(&htim2);
    const float angle = (float)count * (TURN_RAD / COUNTS_PER_TURN);
    const float speed = (float)(count - last_count) * (TURN_RAD / COUNTS_PER_TURN / PERIOD_S);
    last_count = count;

    const float observation[QL_POLICY_OBS_LEN] = {cosf(angle), sinf(angle), speed};
    ql_policy_action action;
    if (ql_policy_act(observation, &action) != QL_OK) {
        Error_Handler();
    }
    const float duty = (action.values[0] / MOST_TORQUE + 1.0f) * 0.5f; /* half is no torque */
    __HAL_TIM_SET_COMPARE(&htim3, TIM_CHANNEL_1, (uint32_t)(duty * PWM_PERIOD));
}
