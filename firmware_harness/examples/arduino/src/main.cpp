// SPDX-License-Identifier: Apache-2.0
// Pendulum: cosine, sine, rad/s in; torque in N m out. A potentiometer gives the angle, PWM and a
// direction pin drive the motor.
#include <Arduino.h>

#include "policy/ql_policy.h"

static const uint8_t ANGLE_PIN = A0;
static const uint8_t PWM_PIN = 9;
static const uint8_t DIRECTION_PIN = 8;
static const uint32_t PERIOD_US = 50000; // the contract's step_hz is 20
static const float TURN_RAD = 6.2831853f;
static const float RADIANS_PER_STEP = TURN_RAD / 1023.0f;
static const float MOST_TORQUE = 2.0f;

static uint32_t next_us;
static float last_angle;

void setup()
{
    Serial.begin(115200);
    pinMode(PWM_PIN, OUTPUT);
    pinMode(DIRECTION_PIN, OUTPUT);
    while (ql_policy_check() != QL_OK) { // never act on other numbers than those that were judged
        Serial.println("this build computes something else: is -ffp-contract=off missing?");
        delay(1000);
    }
    next_us = micros();
}

void loop()
{
    if ((int32_t)(micros() - next_us) < 0) {
        return;
    }
    next_us += PERIOD_US;
    const float angle = (float)analogRead(ANGLE_PIN) * RADIANS_PER_STEP;
    float turned = angle - last_angle;
    last_angle = angle;
    if (turned > TURN_RAD / 2.0f) { // past the end of the potentiometer
        turned -= TURN_RAD;
    } else if (turned < -TURN_RAD / 2.0f) {
        turned += TURN_RAD;
    }

    const float observation[QL_POLICY_OBS_LEN] = {cosf(angle), sinf(angle),
                                                  turned * (1e6f / PERIOD_US)};
    ql_policy_action action;
    if (ql_policy_act(observation, &action) != QL_OK) {
        return;
    }
    digitalWrite(DIRECTION_PIN, action.values[0] < 0.0f ? LOW : HIGH);
    analogWrite(PWM_PIN, (int)(fabsf(action.values[0]) / MOST_TORQUE * 255.0f));
}
